#include "preload/unwind/unwinder.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {

Unwinder choose_unwinder(UnwindChoice choice) {
  if (choice != UnwindChoice::kFramePointer) {
    if (const CaptureFunction capture = open_libunwind()) return {capture, "libunwind"};
  }
  return {capture_by_frame_pointer, "fp"};
}

}  // namespace memtrace
