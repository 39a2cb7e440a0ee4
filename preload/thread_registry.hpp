// Which kernel thread a thread serial was: what snapshots name threads by.
//
// Called by: the cold path, once per thread and fork generation; the snapshot thread. Any thread; lock-free.
// Memory: page_arena, 4 bytes a thread. Full: serials go on, their thread stays unnamed.
#pragma once

#include <atomic>
#include <cstdint>

#include "preload/sys/page_arena.hpp"

namespace memtrace {

class ThreadRegistry {
 public:
  void start(PageArena& arena) { arena_ = &arena; }

  // Serials start at 1 and are never reused within a process image and its forked children.
  [[nodiscard]] std::uint32_t new_serial() { return last_.fetch_add(1, std::memory_order_relaxed) + 1; }
  [[nodiscard]] std::uint32_t last_serial() const { return last_.load(std::memory_order_relaxed); }

  void set_tid(std::uint32_t serial, std::uint32_t tid);
  [[nodiscard]] std::uint32_t tid_of(std::uint32_t serial) const;  // 0: unknown

 private:
  using Page = std::atomic<std::uint32_t>;
  static constexpr std::uint32_t kPerPage = 1024;
  static constexpr std::uint32_t kPages = 1024;

  PageArena* arena_ = nullptr;
  std::atomic<std::uint32_t> last_{0};
  std::atomic<Page*> pages_[kPages]{};
};

}  // namespace memtrace
