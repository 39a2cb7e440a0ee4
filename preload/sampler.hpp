// Decides which allocations are samples: every byte is a Poisson trial with a mean interval of R bytes.
//
// Called by: every hook that hands out memory. Unsampled path: one thread-local subtraction, no lock, no
// atomic (hot). Threads: the countdown belongs to its thread; the settings are written once before tracing
// starts. Integers only.
//
// The countdown is exponential with mean R and memoryless, so an allocation of Z bytes is a sample with
// p = 1 - exp(-max(Z,1)/R) whatever came before it, and stands for 1/p allocations and Z/p bytes
// (Horvitz-Thompson).
#pragma once

#include <cstdint>

#include "format/types.hpp"
#include "preload/thread_state.hpp"

namespace memtrace {

// What one sample stands for, in fixed point: summed in the hooks, rounded once per stack.
struct Weight {
  static constexpr int kCountBits = 16;
  static constexpr int kBytesBits = 8;
  std::uint64_t count = 0;  // 1/p   * 2^kCountBits
  std::uint64_t bytes = 0;  // Z/p   * 2^kBytesBits
};

class Sampler {
 public:
  // interval_bytes >= 1 and at most kMaxInterval; ignored in mode kAll. `seed` from the kernel, fixed in
  // tests.
  static constexpr std::uint64_t kMaxInterval = std::uint64_t{1} << 40;
  void start(SamplingMode mode, std::uint64_t interval_bytes, std::uint64_t seed);

  // Hot. True: go to the cold path with this allocation. The countdown has passed below zero then, where no
  // later step would notice it: rearm() or unstep() has to follow. Sizes that no allocator has may come.
  [[nodiscard, gnu::always_inline]] static bool step(std::uint64_t size_bytes) {
#if defined(__x86_64__)
    // The carry of size - 1 is the byte that an empty block counts for. One instruction writes: a handler
    // never gets in between.
    bool below;
    asm("cmpq $1, %[size]\n\tsbbq %[size], %[countdown]"
        : [countdown] "+m"(t_state.countdown), "=@ccc"(below)
        : [size] "r"(size_bytes));
    return below;
#else
    return __builtin_sub_overflow(t_state.countdown, size_bytes + (size_bytes == 0), &t_state.countdown);
#endif
  }

  // Cold. Takes the step back: the allocation is yet to be tried. What a handler allocated since has gone by
  // untried; where that was more than was left, the next allocation is due.
  static void unstep(std::uint64_t size_bytes) {
    t_state.countdown += size_bytes + (size_bytes == 0);
    if (static_cast<std::int64_t>(t_state.countdown) < 0) t_state.countdown = 0;
  }

  // Cold. Sets this thread's countdown for the next sample; false if the thread had none yet, which means
  // that the allocation at hand was not tried: call step() again. Precondition: the thread has a serial.
  [[nodiscard]] bool rearm() const;

  // In a forked child, so that siblings do not draw alike: for threads to come, and for this one. `child`
  // tells the siblings apart, such as a thread id. The countdown at hand stays.
  void reseed(std::uint32_t child) { seed_ += child * kChildStep; }
  static void diverge(std::uint32_t child) {
    if (t_state.random != 0) t_state.random = (t_state.random + child * kChildStep) | 1;
  }

  // Cold. What an allocation of this size stands for when it is a sample.
  [[nodiscard]] Weight weight(std::uint64_t size_bytes) const;

  // Exponential with mean interval, from 64 random bits. Pure.
  [[nodiscard]] static std::uint64_t exponential(std::uint64_t random, std::uint64_t interval_bytes);

  [[nodiscard]] SamplingMode mode() const { return mode_; }
  [[nodiscard]] std::uint64_t interval_bytes() const { return interval_bytes_; }

 private:
  static constexpr std::uint64_t kChildStep = 0x9fb21c651e98df25;

  SamplingMode mode_ = SamplingMode::kPoissonBytes;
  std::uint64_t interval_bytes_ = 0;
  std::uint64_t seed_ = 0;
};

}  // namespace memtrace
