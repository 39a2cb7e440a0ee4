// How much memory the limits on this process (ulimit -v, -d) leave.
//
// Called by: start-up. Reads /proc/self/statm where there is a limit; raw system calls, no heap.
#pragma once

#include <cstdint>

namespace memtrace::sys {

// UINT64_MAX: no limit. What cannot be read counts as unused.
[[nodiscard]] std::uint64_t memory_left();

}  // namespace memtrace::sys
