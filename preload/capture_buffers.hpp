// Where stacks are captured: 2 KiB are too much for the host's stack (coroutines have 4 KiB), so buffers are
// borrowed.
//
// Called by: the cold path, for the time of one capture and intern. Any thread; lock-free; signal-safe.
// All in use: nullptr, the caller loses the sample and counts it. A thread cancelled in between keeps its
// buffer for good; a forked child gets back those of vanished threads.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "format/types.hpp"
#include "preload/unwind/unwinder.hpp"

namespace memtrace {

class CaptureBuffers {
 public:
  static constexpr std::size_t kFrames = 256 + 1 + kOwnFrames;  // 256: the largest MEMTRACE_FRAMES
  static constexpr std::size_t kBuffers = 64;                   // a bit each

  struct Buffer {
    ReturnAddress frames[kFrames]{};
  };

  // `hint` spreads threads over the buffers.
  [[nodiscard]] Buffer* borrow(std::uint32_t hint) {
    std::uint64_t seen = taken_.load(std::memory_order_relaxed);
    while (~seen != 0) {
      const int turn = static_cast<int>(hint % kBuffers);
      const std::size_t i =
          (static_cast<std::size_t>(std::countr_one(std::rotr(seen, turn))) + hint) % kBuffers;
      const std::uint64_t bit = std::uint64_t{1} << i;
      seen = taken_.fetch_or(bit);
      if (!(seen & bit)) return &buffers_[i];
    }
    return nullptr;
  }
  void give_back(Buffer* buffer) { taken_.fetch_and(~bit_of(buffer), std::memory_order_release); }

  [[nodiscard]] std::uint64_t bit_of(const Buffer* buffer) const {
    return std::uint64_t{1} << (buffer - buffers_);
  }
  [[nodiscard]] std::uint64_t taken() const { return taken_.load(); }

  void reset_after_fork() { taken_.store(0, std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> taken_{0};
  Buffer buffers_[kBuffers];
};

}  // namespace memtrace
