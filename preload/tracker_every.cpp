// The short way of mode all: what nearly every malloc and free of a program under it takes, once its thread
// has found everything ready. Whatever changes that sends it back to the long way.
#include "preload/counters.hpp"
#include "preload/sys/syscalls.hpp"
#include "preload/tracker.hpp"
#include "preload/tracker_stacks.hpp"

#include "preload/no_heap.hpp"

namespace memtrace::tracker {
namespace {

[[gnu::always_inline]] inline ThreadSlab* ready_slab() {
  ThreadSlab* const slab = t_state.slab;
  return slab && slab->ready_epoch == g_tracker.epoch.current() ? slab : nullptr;
}

// By value: a record that is passed by address would be in memory in any case.
[[gnu::noinline]] bool insert_copy(LiveRecord record) { return insert(record); }

[[gnu::always_inline]] inline bool record(const void* block, std::size_t size, Caller caller) {
  ThreadSlab* const slab = ready_slab();
  if (!slab) return false;
  const auto address = reinterpret_cast<std::uint64_t>(block);
  const LiveTable::Place place = g_tracker.live.prefetch(address);    // there when the stack is known
  const std::int64_t now_ns = sys::clock_ns(CLOCK_MONOTONIC_COARSE);  // a call: before there is much to keep
  const InHook hook;
  if (!hook.entered()) return false;
  Recorded recorded{StackId::kNone, walk_again(caller, *slab)};
  if (recorded.walk) [[likely]] {
    recorded.stack = recorded.walk->stack.load(std::memory_order_relaxed);
  } else {
    recorded = capture(hook, caller);
    if (recorded.stack == StackId::kNone) return true;  // lost, and counted
  }
  LiveRecord record;
  record.address = address;
  record.size_bytes = size;
  record.sample_number = t_state.next_sample;
  record.birth_ns = now_ns;
  record.stack = recorded.stack;
  record.thread = t_state.serial;
  if (!PackedRecord::fits_thread(record.thread)) __builtin_unreachable();  // it would not be ready
  if (!g_tracker.live.insert_at_home(place, record, this_thread_owner()) && !insert_copy(record)) return true;
  t_state.next_sample = record.sample_number + 1;
  count_allocated(recorded, whole(1, size));
  count_sample_of(*slab);
  return true;
}

[[gnu::always_inline]] inline bool erase(const void* block, PackedRecord& erased) {
  return ready_slab() &&
         g_tracker.live.erase_at_home(reinterpret_cast<std::uint64_t>(block), this_thread_owner(), erased);
}

}  // namespace

void* allocated_probably(void* block, std::size_t size, Caller caller) {
  if (block && !record(block, size, caller)) [[unlikely]] {
    allocated(block, size, caller);
  }
  return block;
}

bool recorded_shortly(const void* block, std::size_t size, Caller caller) {
  if (!ready_slab()) return false;
  Sampler::unstep(size);  // or what a handler allocates meanwhile would be no trial
  if (record(block, size, caller)) return true;
  (void)Sampler::step(size);
  return false;
}

bool erased_shortly(const void* block) {
  PackedRecord erased;
  return erase(block, erased);
}

bool taken_shortly(const void* block, TakenRecord& taken) {
  PackedRecord erased;
  if (!erase(block, erased)) return false;
  taken = {g_tracker.live.unpacked(erased), true};
  return true;
}

void ready_for_short_way(std::uint64_t epoch) {
  // A child was set up in between: the number says nothing here, and is every other child's, too.
  if (epoch == ReadyEpoch::kChild || !PackedRecord::fits_thread(t_state.serial)) return;
  if (ThreadSlab* const slab = g_thread_slabs.of_this_thread()) slab->ready_epoch = epoch;
}

}  // namespace memtrace::tracker
