// Memory of the shim: pages from the kernel, never from the heap (P1), capped (P10).
//
// Called by: tables when they grow (cold), the snapshot thread. Any thread; lock-free; signal-safe. Pages are
// zeroed, left out of core dumps, and never backed by huge pages (sparse tables would be inflated by them).
// Full or failing: nullptr; the caller loses its sample and counts it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "preload/sys/pages.hpp"

namespace memtrace {

class PageArena {
 public:
  // All-zero state: a cap of 0, so nothing is handed out before start().
  void start(std::uint64_t cap_bytes) { cap_bytes_.store(cap_bytes, std::memory_order_relaxed); }

  // `bytes` is rounded up to whole pages.
  [[nodiscard]] void* take(std::size_t bytes);
  void give_back(void* pages, std::size_t bytes);

  [[nodiscard]] std::uint64_t used_bytes() const { return used_bytes_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> cap_bytes_{0};
  std::atomic<std::uint64_t> used_bytes_{0};
};

}  // namespace memtrace
