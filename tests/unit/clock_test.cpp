// Would break: times in snapshots, and every program whose clocks another preloaded library changes.
#include "preload/sys/syscalls.hpp"

#include <sys/auxv.h>

#include "tests/support/catch.hpp"

using namespace memtrace;

namespace {

std::int64_t by_kernel(clockid_t clock) {
  timespec t{};
  syscall(SYS_clock_gettime, clock, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

}  // namespace

TEST_CASE("every clock is the kernel's, found in the vDSO or not") {
  for (const bool found : {false, true}) {
    if (found) CHECK(sys::find_clock() == (getauxval(AT_SYSINFO_EHDR) != 0));
    for (const clockid_t clock : {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME, CLOCK_MONOTONIC_COARSE}) {
      const std::int64_t before = by_kernel(clock);
      const std::int64_t now = sys::clock_ns(clock);
      CHECK(now >= before);
      CHECK(now <= by_kernel(clock));
    }
  }
}
