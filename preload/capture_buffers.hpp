// Where stacks are captured: 2 KiB are too much for the host's stack (coroutines have 4 KiB), so buffers are
// borrowed.
//
// Called by: the cold path, for the time of one capture and intern. Any thread; lock-free; signal-safe.
// All in use: nullptr, the caller loses the sample and counts it. A thread cancelled in between keeps its
// buffer for good; a forked child gets back those of vanished threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "format/types.hpp"
#include "preload/unwind/unwinder.hpp"

namespace memtrace {

class CaptureBuffers {
 public:
  static constexpr std::size_t kFrames = 256 + 1 + kOwnFrames;  // 256: the largest MEMTRACE_FRAMES
  static constexpr std::size_t kBuffers = 64;

  struct Buffer {
    std::atomic<bool> taken{false};
    ReturnAddress frames[kFrames]{};
  };

  // `hint` spreads threads over the buffers.
  [[nodiscard]] Buffer* borrow(std::uint32_t hint) {
    for (std::size_t i = 0; i < kBuffers; ++i) {
      Buffer& buffer = buffers_[(hint + i) % kBuffers];
      if (!buffer.taken.load(std::memory_order_relaxed) && !buffer.taken.exchange(true)) {
        return &buffer;
      }
    }
    return nullptr;
  }
  void give_back(Buffer* buffer) { buffer->taken.store(false, std::memory_order_release); }

  [[nodiscard]] std::uint32_t taken() const {
    std::uint32_t count = 0;
    for (const Buffer& buffer : buffers_) count += buffer.taken.load();
    return count;
  }

  void reset_after_fork() {
    for (Buffer& buffer : buffers_) buffer.taken.store(false, std::memory_order_relaxed);
  }

 private:
  Buffer buffers_[kBuffers];
};

}  // namespace memtrace
