// What the shim counts about itself. Relaxed atomics: any thread, any signal handler; never fails.
// Cold paths only: nothing on the unsampled path counts.
#pragma once

#include <atomic>
#include <cstdint>

namespace memtrace {

struct Counters {
#define MEMTRACE_COUNTER(name, meaning) std::atomic<std::uint64_t> name{0};
#include "preload/counters.inc"
#undef MEMTRACE_COUNTER
};

inline constinit Counters g_counters;

inline void count(std::atomic<std::uint64_t>& counter, std::uint64_t n = 1) {
  counter.fetch_add(n, std::memory_order_relaxed);
}

}  // namespace memtrace
