#include "preload/tracker_stacks.hpp"

#include "preload/counters.hpp"

#include "preload/no_heap.hpp"

namespace memtrace::tracker {
namespace {

// The sums that an entry of a memo holds back go to its stack, before it becomes another one's.
void settle(RememberedWalk& walk) {
  const std::uint64_t allocations = walk.pending_count.load(std::memory_order_relaxed);
  if (allocations == 0) return;
  count_allocated(walk.stack.load(std::memory_order_relaxed),
                  {allocations, walk.pending_bytes.load(std::memory_order_relaxed)});
  walk.pending_count.store(0, std::memory_order_relaxed);
  walk.pending_bytes.store(0, std::memory_order_relaxed);
}

WalkMemo* memo_of(ThreadSlab& slab) {
  WalkMemo* memo = slab.memo.load(std::memory_order_relaxed);
  if (memo) [[likely]] {
    return memo;
  }
  memo = static_cast<WalkMemo*>(g_tracker.arena.take(sizeof(WalkMemo)));  // zeroed: nothing is remembered
  slab.memo.store(memo, std::memory_order_release);
  return memo;
}

[[gnu::noinline]] StackId walk_and_intern(Caller caller, ThreadSlab* slab, RememberedWalk*& walk) {
  CaptureBuffers::Buffer* buffer = g_tracker.gate.enter(t_state.serial);
  if (!buffer) {
    count(g_counters.lost_capture_buffer);
    return StackId::kNone;
  }
  const std::uint32_t limit = g_tracker.max_frames;
  const std::size_t room = limit + 1 + g_tracker.unwinder.own_frames;
  Captured captured = walk ? capture_and_remember(caller, buffer->frames, room, *slab, walk)
                           : g_tracker.unwinder.capture(caller, buffer->frames, room);
  if (captured.frames == 0) {
    count(g_counters.failed_unwinds);
    buffer->frames[0] = caller.return_address();
    captured = {1, 1};
  }
  const bool truncated = captured.frames > limit;
  const std::span<const ReturnAddress> kept{buffer->frames, truncated ? limit : captured.frames};
  bool added = false;
  const StackId stack = g_tracker.stacks.intern(kept, truncated, &added);
  if (added) {
    if (truncated) count(g_counters.truncated_stacks);
    const std::size_t certain = captured.certain < kept.size() ? captured.certain : kept.size();
    g_tracker.module_notes.note(kept.first(certain), stack);
  }
  g_tracker.gate.leave(buffer);
  if (stack == StackId::kNone) {
    count(g_counters.lost_stack_store_full);
  } else if (walk) {
    walk->publish(stack);
  }
  return stack;
}

}  // namespace

#if defined(MEMTRACE_CHECK_WALKS)
void check_walk(Caller caller, StackId remembered) {
  RememberedWalk* nothing = nullptr;
  count(g_counters.checked_walks);
  if (walk_and_intern(caller, nullptr, nothing) != remembered) count(g_counters.wrong_walks);
}
#endif

void identify_newcomer() {
  ThreadState& thread = t_state;
  if (thread.serial == 0) {
    thread.serial = g_tracker.threads.new_serial();
  } else if (!g_tracker.fixed_seed) {
    Sampler::diverge(g_tracker.thread_id.current());
  }
  thread.fork_generation = g_tracker.forks.generation();
  g_tracker.threads.set_tid(thread.serial, g_tracker.thread_id.current());
}

Recorded capture(const InHook&, Caller caller) {
  Recorded recorded;
  ThreadSlab* const slab = g_tracker.remember_walks ? g_thread_slabs.of_this_thread() : nullptr;
  WalkMemo* const memo = slab ? memo_of(*slab) : nullptr;
  if (memo) {
    bool holds = false;
    recorded.walk = find_remembered(caller, *slab, *memo, holds);
    if (holds) [[likely]] {
      recorded.stack = recorded.walk->stack.load(std::memory_order_relaxed);
#if defined(MEMTRACE_CHECK_WALKS)
      check_walk(caller, recorded.stack);
#endif
      return recorded;
    }
    if (recorded.walk) settle(*recorded.walk);
  }
  recorded.stack = walk_and_intern(caller, slab, recorded.walk);
  return recorded;
}

void count_allocated(StackId stack, const Weight& weight) {
  if (StackEntry* entry = g_tracker.stacks.find(stack)) {
    count(entry->allocated_count, weight.count);
    count(entry->allocated_bytes, weight.bytes);
  }
}

void count_sample() {
  if (ThreadSlab* slab = g_thread_slabs.of_this_thread()) {
    count_sample_of(*slab);
  } else {
    count(g_counters.samples);
  }
}

std::uint64_t samples_recorded() {
  std::uint64_t samples = g_counters.samples.load(std::memory_order_relaxed);
  g_thread_slabs.for_each(
      [&](const ThreadSlab& slab) { samples += slab.samples.load(std::memory_order_relaxed); });
  return samples;
}

}  // namespace memtrace::tracker
