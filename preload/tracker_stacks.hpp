// From the caller of a hook to its stack, and the sums of each stack: what the tracker's two halves, heap and
// mappings, share.
//
// Called by: tracker.cpp, tracker_maps.cpp (cold; in mode all, each allocation), the snapshot thread (sums).
// Any thread. Signals: a handler that interrupts its own thread here has no InHook and does not get here.
// Memory: the stack store's and, in mode all, the thread's memo. Failing: StackId::kNone, counted.
#pragma once

#include "preload/counters.hpp"
#include "preload/thread_slabs.hpp"
#include "preload/tracker.hpp"
#include "preload/unwind/walk_memo.hpp"

namespace memtrace::tracker {

// Before anything that needs the thread's serial.
void identify_newcomer();
inline void identify_thread() {
  if (t_state.serial == 0 || t_state.fork_generation != g_tracker.forks.generation()) identify_newcomer();
}

// Not ready although active: another thread is setting this forked child up, and what happens meanwhile is
// lost, counted.
[[nodiscard]] inline bool ready_or_lost() {
  if (ready()) [[likely]] {
    return true;
  }
  if (active()) count(g_counters.lost_lock);
  return false;
}

// A stack on its way into the sums. Counted where that costs least: in the thread's own memo, if it is there.
struct Recorded {
  StackId stack{};
  RememberedWalk* walk = nullptr;
};
[[nodiscard]] Recorded capture(const InHook& hook, Caller caller);

// What was allocated by a stack, once a table took it. Frees are not summed: they are what is not live any
// more.
void count_allocated(StackId stack, const Weight& weight);
[[gnu::always_inline]] inline void count_allocated(const Recorded& recorded, const Weight& weight) {
  if (recorded.walk) [[likely]] {
    recorded.walk->count(weight.count, weight.bytes);
  } else {
    count_allocated(recorded.stack, weight);
  }
}
[[nodiscard]] inline Weight whole(std::uint64_t count, std::uint64_t bytes) {
  return {count << Weight::kCountBits, bytes << Weight::kBytesBits};
}

#if defined(MEMTRACE_CHECK_WALKS)
// The build that trusts no remembered walk: walks again, and counts where it was wrong.
void check_walk(Caller caller, StackId remembered);
#endif

// Mode all: the walk that this one repeats. nullptr: look for it, or walk.
[[nodiscard, gnu::always_inline]] inline RememberedWalk* walk_again(Caller caller, ThreadSlab& slab) {
  WalkMemo* const memo = slab.memo.load(std::memory_order_relaxed);
  if (!memo || slab.memo_generation != g_rules_generation.load(std::memory_order_relaxed)) return nullptr;
  const auto sp = reinterpret_cast<std::uintptr_t>(caller.cfa);
  const std::uint16_t guess = memo->guess_from(sp, static_cast<std::uintptr_t>(caller.return_address()));
  RememberedWalk& walk = memo->walks[guess];
  if (!walk.still_holds(sp, reinterpret_cast<std::uintptr_t>(caller.frame_pointer), slab.memo_stamp))
    return nullptr;
  memo->remember(guess);
#if defined(MEMTRACE_CHECK_WALKS)
  check_walk(caller, walk.stack.load(std::memory_order_relaxed));
#endif
  return &walk;
}

// Into the live table. False: lost, and counted.
[[nodiscard]] bool insert(const LiveRecord& record);

// One more allocation recorded.
void count_sample();
[[gnu::always_inline]] inline void count_sample_of(ThreadSlab& slab) {
  slab.samples.store(slab.samples.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

// For snapshots: all that was recorded, and what the memos of threads hold back of the stacks' sums.
[[nodiscard]] std::uint64_t samples_recorded();
template <class Add>
void for_each_pending(Add add) {
  g_thread_slabs.for_each([&](const ThreadSlab& slab) {
    const WalkMemo* memo = slab.memo.load(std::memory_order_acquire);
    if (!memo) return;
    for (const RememberedWalk& walk : memo->walks) {
      const std::uint64_t allocations = walk.pending_count.load(std::memory_order_acquire);
      if (allocations == 0) continue;
      add(walk.stack.load(std::memory_order_relaxed),
          Weight{allocations, walk.pending_bytes.load(std::memory_order_relaxed)});
    }
  });
}

}  // namespace memtrace::tracker
