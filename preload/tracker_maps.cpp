// The tracker's half for mappings: what the hooks of mmap, munmap and mremap tell.
#include <errno.h>
#include <sys/mman.h>

#include "preload/counters.hpp"
#include "preload/sys/syscalls.hpp"
#include "preload/tracker.hpp"
#include "preload/tracker_stacks.hpp"

#include "preload/no_heap.hpp"

namespace memtrace::tracker {
namespace {

constexpr std::uint64_t kPageMask = kPageBytes - 1;

bool wants_maps() { return g_tracker.record_maps && ready_or_lost(); }

void commit(TakenRange& taken) {
  if (!taken.taken || taken.removed.count == 0) return;
  const bool done =
      g_tracker.maps.commit(taken.removed, this_thread_owner(), [](const Mapping&, std::uint64_t, bool) {});
  if (!done) count(g_counters.lost_maps);
}

AllocKind kind_of(int protection, int flags) {
  if (!(flags & MAP_ANONYMOUS)) return AllocKind::kFile;
  if ((flags & MAP_TYPE) != MAP_PRIVATE) return AllocKind::kShared;
  return protection == PROT_NONE ? AllocKind::kReserved : AllocKind::kMmap;
}

// The kernel hands out free pages only: what is known of them was unmapped by a way that we did not see.
bool drop_stale(std::uint64_t address, std::uint64_t size) {
  TakenRange stale;
  stale.taken =
      g_tracker.maps.remove(address, address + round_to_pages(size), this_thread_owner(), stale.removed);
  if (stale.removed.count > 0) count(g_counters.replaced_records);
  commit(stale);
  return stale.taken;
}

void record_mapping(void* address, std::size_t size, AllocKind kind, Caller caller) {
  const InHook hook;
  if (g_tracker.paused.load(std::memory_order_relaxed)) return;
  if (!hook.entered()) {
    count(g_counters.nested_calls);
    return;
  }
  const int saved_errno = errno;
  identify_thread();
  const std::uint64_t countdown = t_state.countdown;
  Mapping mapping;
  const Recorded recorded = capture(hook, caller);
  mapping.stack = recorded.stack;
  t_state.countdown = countdown;
  if (mapping.stack != StackId::kNone) {
    mapping.address = reinterpret_cast<std::uint64_t>(address);
    mapping.size_bytes = round_to_pages(size);
    mapping.sample_number = t_state.next_sample++;
    mapping.birth_ns = sys::clock_ns(CLOCK_MONOTONIC_COARSE);
    mapping.thread = t_state.serial;
    mapping.kind = kind;
    g_tracker.any_live_map.store(true, std::memory_order_relaxed);
    if (drop_stale(mapping.address, mapping.size_bytes) &&
        g_tracker.maps.insert(mapping, this_thread_owner())) {
      if (counts_as_live(kind)) count_allocated(recorded, whole(1, mapping.size_bytes));
      count_sample();
    } else {
      count(g_counters.lost_maps);
    }
  }
  errno = saved_errno;
}

}  // namespace

void mapped(void* address, std::size_t size, int protection, int flags, Caller caller) {
  if (!wants_maps()) return;
  const std::uint64_t from = value(caller.return_address());
  if (from >= g_tracker.allocator_begin && from < g_tracker.allocator_end) return;
  record_mapping(address, size, kind_of(protection, flags), caller);
}

void remapped(void* address, std::size_t size, AllocKind kind, Caller caller) {
  if (wants_maps()) record_mapping(address, size, kind, caller);
}

bool mapping_kind(const void* address, AllocKind& kind) {
  if (!g_tracker.any_live_map.load(std::memory_order_relaxed) || !wants_maps()) return false;
  const InHook hook;
  if (!hook.entered()) return false;
  identify_thread();
  return g_tracker.maps.kind_at(reinterpret_cast<std::uint64_t>(address), this_thread_owner(), kind);
}

void take_range(const void* address, std::size_t size, TakenRange& taken) {
  const auto start = reinterpret_cast<std::uint64_t>(address);
  // What the kernel refuses as malformed changes nothing; what was never recorded needs no look.
  if ((start & kPageMask) || size == 0 || !g_tracker.any_live_map.load(std::memory_order_relaxed)) return;
  if (!wants_maps()) return;
  const InHook hook;
  if (!hook.entered()) {
    count(g_counters.nested_calls);
    return;
  }
  identify_thread();
  const std::uint64_t end = start + round_to_pages(size);
  if (end < start) return;
  taken.taken = g_tracker.maps.remove(start, end, this_thread_owner(), taken.removed);
  if (!taken.taken) count(g_counters.lost_maps);
}

void put_back(TakenRange& taken) {
  if (!taken.taken || taken.removed.count == 0) return;
  const InHook hook;
  if (!g_tracker.maps.restore(taken.removed, this_thread_owner())) count(g_counters.lost_maps);
}

void forget(TakenRange& taken) {
  const InHook hook;
  commit(taken);
}

void moved(TakenRange& taken, void* to, std::size_t size) {
  const InHook hook;
  if (!taken.taken || taken.removed.count == 0 || !g_tracker.paused.load(std::memory_order_relaxed)) {
    commit(taken);
    return;
  }
  // Nothing new is recorded: it stays the allocation that it was.
  const auto address = reinterpret_cast<std::uint64_t>(to);
  const auto resize = [](const Mapping& mapping, std::uint64_t old_bytes, std::uint64_t bytes, bool) {
    if (counts_as_live(mapping.kind)) count_allocated(mapping.stack, whole(0, bytes - old_bytes));
  };
  const bool done =
      drop_stale(address, size) &&
      g_tracker.maps.move(taken.removed, address, round_to_pages(size), this_thread_owner(), resize);
  if (!done) count(g_counters.lost_maps);
}

}  // namespace memtrace::tracker
