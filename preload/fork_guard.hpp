// Notices that this process is a forked child, however it was made (fork, clone, _Fork), at the cost of one
// load.
//
// A page that the kernel wipes in every child (MADV_WIPEONFORK; Linux 4.14, else children are not noticed and
// go on under their parent's names). A vfork child shares its parent's memory, page included: it counts as
// its parent. Called by: cold paths, the signal handler, the snapshot thread. Any thread; lock-free;
// signal-safe.
#pragma once

#include <atomic>
#include <cstdint>

namespace memtrace {

class ForkGuard {
 public:
  enum class State : std::uint8_t { kKnown, kNewChild, kBeingAdopted };

  // False: no such page on this kernel.
  [[nodiscard]] bool start();

  // kNewChild to exactly one caller per child, which must call adopted() when it has set the child up.
  // kBeingAdopted: another thread is at it: touch nothing.
  [[nodiscard, gnu::always_inline]] State check() {
    if (!page_ || page_->load(std::memory_order_acquire) == kAlive) [[likely]] {
      return State::kKnown;
    }
    return check_slowly();
  }
  void adopted();

  // 0 in each child until somebody sets it there; nullptr without such a page.
  [[nodiscard]] std::atomic<std::uint64_t>* wiped_word() const {
    return page_ ? reinterpret_cast<std::atomic<std::uint64_t>*>(page_ + 2) : nullptr;
  }

  // Forks between the first process image and this one.
  [[nodiscard]] std::uint32_t generation() const { return generation_.load(std::memory_order_relaxed); }

 private:
  [[nodiscard, gnu::cold]] State check_slowly();

  static constexpr std::uint32_t kWiped = 0;
  static constexpr std::uint32_t kAlive = 1;
  static constexpr std::uint32_t kAdopting = 2;

  std::atomic<std::uint32_t>* page_ = nullptr;
  std::atomic<std::uint32_t> generation_{0};
};

}  // namespace memtrace
