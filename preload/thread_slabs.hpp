// What the shim keeps for each thread beyond its 64 bytes of thread-local storage (P8).
//
// Called by: cold paths, once a thread and process image. Any thread; lock-free; signal-safe. A thread is
// known by where its thread-local block lies: no two living threads share that, and nothing need be done when
// one ends (B4): its slab serves the next thread at that place. Memory: a fixed array, touched where used.
// Full: nullptr; the caller goes on without what it would have kept.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "preload/ready_epoch.hpp"
#include "preload/thread_state.hpp"

namespace memtrace {

struct WalkMemo;

struct alignas(64) ThreadSlab {
  std::atomic<std::uintptr_t> owner{0};  // address of the thread's t_state
  // The part of the thread's own stack that is known to be readable; empty at first. `stack_high` is set
  // once.
  std::uintptr_t stack_low = 0;
  std::uintptr_t stack_high = 0;
  // Allocations recorded, by all threads that had it.
  std::atomic<std::uint64_t> samples{0};
  // What this thread walked lately, in mode all. The memory goes with the slab from thread to thread; of what
  // it says of walks only that counts which has this stamp, drawn anew for each thread, and for each
  // generation of rules. None is 0.
  std::atomic<WalkMemo*> memo{nullptr};
  std::uint64_t memo_generation = 0;
  std::uint64_t memo_stamp = 0;
  // When all was ready for the short way of mode all.
  std::uint64_t ready_epoch = 0;
};
static_assert(sizeof(ThreadSlab) == 64);

class ThreadSlabs {
 public:
  static constexpr std::size_t kSlabs = 8192;

  // For readers of what owners publish: every slab that a thread ever had.
  template <class Visit>
  void for_each(Visit visit) const {
    for (const ThreadSlab& slab : slabs_) {
      if (slab.owner.load(std::memory_order_acquire) != 0) visit(slab);
    }
  }

  [[nodiscard]] ThreadSlab* of_this_thread() {
    if (t_state.slab) [[likely]] {
      return t_state.slab;
    }
    return find();
  }

 private:
  static constexpr std::size_t kMaxProbes = 64;

  [[nodiscard]] ThreadSlab* find() {
    const auto owner = reinterpret_cast<std::uintptr_t>(&t_state);
    std::size_t i = owner * 0x9e3779b97f4a7c15 >> 51;
    static_assert(kSlabs == std::size_t{1} << (64 - 51));
    for (std::size_t probes = 0; probes < kMaxProbes; ++probes, i = (i + 1) % kSlabs) {
      std::uintptr_t seen = slabs_[i].owner.load(std::memory_order_relaxed);
      if (seen != owner &&
          (seen != 0 || !slabs_[i].owner.compare_exchange_strong(seen, owner, std::memory_order_relaxed))) {
        continue;
      }
      slabs_[i].stack_low = 0;
      slabs_[i].stack_high = 0;
      slabs_[i].memo_generation = 0;
      slabs_[i].ready_epoch = ReadyEpoch::kNever;
      t_state.slab = &slabs_[i];
      return t_state.slab;
    }
    return nullptr;
  }

  ThreadSlab slabs_[kSlabs];
};

inline constinit ThreadSlabs g_thread_slabs;

}  // namespace memtrace
