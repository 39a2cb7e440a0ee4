// Whether what a thread once found ready is ready still, for the price of one load: a number that changes
// when anything that cold paths ask about does, and that is 0, no thread's, in a forked child until it is set
// up.
//
// Called by: the short way of mode all, at each allocation and free; whoever changes what it stands for,
// afterwards. Any thread; lock-free; signal-safe. A thread reads the number first, then asks everything, and
// keeps the number if all answers were good: a change in between leaves it with a number that is gone.
#pragma once

#include <atomic>
#include <cstdint>

namespace memtrace {

class ReadyEpoch {
 public:
  static constexpr std::uint64_t kNever = UINT64_MAX;  // of a thread that found nothing ready yet
  static constexpr std::uint64_t kChild = 0;           // of a forked child that is not set up

  // `wiped_in_children`: the fork guard's. nullptr where children are not noticed anyway.
  void start(std::atomic<std::uint64_t>* wiped_in_children) {
    if (wiped_in_children) word_ = wiped_in_children;
    changed();
  }
  void changed() {
    word_->store(last_.fetch_add(1, std::memory_order_acq_rel) + 1, std::memory_order_release);
  }
  [[nodiscard, gnu::always_inline]] std::uint64_t current() const {
    return word_->load(std::memory_order_acquire);
  }

 private:
  std::atomic<std::uint64_t> own_{0};
  std::atomic<std::uint64_t>* word_ = &own_;
  std::atomic<std::uint64_t> last_{0};
};

}  // namespace memtrace
