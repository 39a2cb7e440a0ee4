#include "preload/sys/memory_left.hpp"

#include <sys/resource.h>

#include "preload/sys/page_arena.hpp"
#include "preload/sys/syscalls.hpp"

#include "preload/no_heap.hpp"

namespace memtrace::sys {
namespace {

constexpr int kSizeField = 0;
constexpr int kDataField = 5;

std::uint64_t used_bytes(int wanted) {
  char text[128];
  const long fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const long got = read(static_cast<int>(fd), text, sizeof text);
  close(static_cast<int>(fd));
  std::uint64_t pages = 0;
  int field = 0;
  for (long i = 0; i < got && field <= wanted; ++i) {
    if (text[i] == ' ') {
      ++field;
    } else if (field == wanted && text[i] >= '0' && text[i] <= '9') {
      pages = pages * 10 + static_cast<std::uint64_t>(text[i] - '0');
    }
  }
  return pages * kPageBytes;
}

std::uint64_t left_of(int limit, int field) {
  struct {
    std::uint64_t soft;
    std::uint64_t hard;
  } bytes{};
  if (call(SYS_prlimit64, 0, limit, nullptr, &bytes) != 0 || bytes.soft == UINT64_MAX) return UINT64_MAX;
  const std::uint64_t used = used_bytes(field);
  return used < bytes.soft ? bytes.soft - used : 0;
}

}  // namespace

std::uint64_t memory_left() {
  const std::uint64_t space = left_of(RLIMIT_AS, kSizeField);
  const std::uint64_t data = left_of(RLIMIT_DATA, kDataField);
  return space < data ? space : data;
}

}  // namespace memtrace::sys
