#include "preload/unwind/boost_backtrace.hpp"

#include <boost/stacktrace/safe_dump_to.hpp>

#include "preload/no_heap.hpp"

extern "C" [[gnu::visibility("default")]] std::size_t memtrace_boost_backtrace(const void** frames,
                                                                               std::size_t room) {
  // It counts the zero that it ends with.
  const std::size_t written = boost::stacktrace::safe_dump_to(frames, room * sizeof *frames);
  return written > 0 ? written - 1 : 0;
}
