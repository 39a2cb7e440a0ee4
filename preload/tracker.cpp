#include "preload/tracker.hpp"

#include <errno.h>

#include "preload/counters.hpp"
#include "preload/real.hpp"
#include "preload/sys/syscalls.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {

constinit Tracker g_tracker;
constinit thread_local ThreadState t_state [[gnu::tls_model("initial-exec")]];

namespace tracker {
namespace {

// More than any host needs between two cold paths of a thread that is not to be sampled.
constexpr std::uint64_t kNever = INT64_MAX;

void identify_thread() {
  ThreadState& thread = t_state;
  if (thread.serial == 0) {
    thread.serial = g_tracker.threads.new_serial();
  } else if (thread.fork_generation == g_tracker.forks.generation()) {
    return;
  } else if (!g_tracker.fixed_seed) {
    Sampler::diverge(g_tracker.thread_id.current());
  }
  thread.fork_generation = g_tracker.forks.generation();
  g_tracker.threads.set_tid(thread.serial, g_tracker.thread_id.current());
}

StackId capture(const InHook&, Caller caller) {
  CaptureBuffers::Buffer* buffer = g_tracker.gate.enter(t_state.serial);
  if (!buffer) {
    count(g_counters.lost_capture_buffer);
    return StackId::kNone;
  }
  const std::uint32_t limit = g_tracker.max_frames;
  Captured captured =
      g_tracker.unwinder.capture(caller, buffer->frames, limit + 1 + g_tracker.unwinder.own_frames);
  if (captured.frames == 0) {
    count(g_counters.failed_unwinds);
    buffer->frames[0] = caller.return_address();
    captured = {1, 1};
  }
  const bool truncated = captured.frames > limit;
  if (truncated) count(g_counters.truncated_stacks);
  const std::span<const ReturnAddress> kept{buffer->frames, truncated ? limit : captured.frames};
  bool added = false;
  const StackId stack = g_tracker.stacks.intern(kept, truncated, &added);
  if (added) {
    const std::size_t certain = captured.certain < kept.size() ? captured.certain : kept.size();
    g_tracker.module_notes.note(kept.first(certain), stack);
  }
  g_tracker.gate.leave(buffer);
  if (stack == StackId::kNone) count(g_counters.lost_stack_store_full);
  return stack;
}

void count_allocated(StackId stack, const Weight& weight) {
  if (StackEntry* entry = g_tracker.stacks.find(stack)) {
    count(entry->allocated_count, weight.count);
    count(entry->allocated_bytes, weight.bytes);
  }
}

void count_freed(StackId stack, const Weight& weight) {
  if (StackEntry* entry = g_tracker.stacks.find(stack)) {
    count(entry->freed_count, weight.count);
    count(entry->freed_bytes, weight.bytes);
  }
}

void count_freed(const LiveRecord& record) {
  count(g_counters.samples_freed);
  count_freed(record.stack, g_tracker.sampler.weight(record.size_bytes));
}

Weight whole(std::uint64_t count, std::uint64_t bytes) {
  return {count << Weight::kCountBits, bytes << Weight::kBytesBits};
}

// For an allocation that no table took after all.
void uncount_allocated(StackId stack, const Weight& weight) {
  count_allocated(stack, {0 - weight.count, 0 - weight.bytes});
}

// Precondition: the stack's sums know of the record already. False: lost, and counted.
bool insert(const LiveRecord& record) {
  LiveRecord replaced;
  switch (g_tracker.live.insert(record, this_thread_owner(), replaced)) {
    case LiveTable::Insert::kAdded:
      return true;
    case LiveTable::Insert::kReplaced:
      count(g_counters.replaced_records);
      count_freed(replaced);
      return true;
    case LiveTable::Insert::kLost:
      count(g_counters.lost_table_full);
      return false;
    case LiveTable::Insert::kLostLock:
      count(g_counters.lost_lock);
      return false;
  }
  return false;
}

void record_sample(const InHook& hook, const void* block, std::size_t size, Caller caller) {
  LiveRecord record;
  record.stack = capture(hook, caller);
  if (record.stack == StackId::kNone) return;
  record.address = reinterpret_cast<std::uint64_t>(block);
  record.size_bytes = size;
  record.sample_number = t_state.next_sample++;
  record.birth_ns = sys::clock_ns(CLOCK_MONOTONIC_COARSE);
  record.thread = t_state.serial;
  const Weight weight = g_tracker.sampler.weight(size);
  count_allocated(record.stack, weight);
  if (insert(record)) {
    count(g_counters.samples);
  } else {
    uncount_allocated(record.stack, weight);
  }
}

bool erase(const void* block, LiveRecord& erased) {
  switch (g_tracker.live.erase(static_cast<Address>(reinterpret_cast<std::uint64_t>(block)),
                               this_thread_owner(), erased)) {
    case LiveTable::Erase::kErased:
      return true;
    case LiveTable::Erase::kNotFound:
      count(g_counters.filter_false_positives);
      return false;
    case LiveTable::Erase::kLostLock:
      count(g_counters.lost_lock);
      return false;
  }
  return false;
}

// Not ready although active: another thread is setting this forked child up, and what happens meanwhile is
// lost.
bool ready_or_lost() {
  if (ready()) return true;
  if (active()) count(g_counters.lost_lock);
  return false;
}

// Only a lock needs the thread's serial here, and a thread that only frees may have none yet. Asked before
// InHook is made: harmless, as nothing in here allocates, and a handler in its midst is lost either way,
// counted.
bool ready_to_erase() {
  if (!ready_or_lost()) return false;
  if (t_state.serial == 0) identify_thread();
  return true;
}

// What free has to look at for ever. Their addresses are multiples of the allocators' 16, like any block's.
LiveFilter::Fixed bootstrap_blocks() {
  const auto begin = reinterpret_cast<std::uint64_t>(real::g_bootstrap);
  return {begin, begin + real::close_bootstrap()};
}

}  // namespace

void start(const Options& options, std::uint64_t seed) {
  Tracker& tracker = g_tracker;
  const bool all = options.sample.mode == SamplingMode::kAll;
  tracker.sampling = options.sample;
  tracker.max_frames = options.max_frames;
  tracker.fixed_seed = options.seed != 0;
  tracker.follow_children = options.children;
  tracker.record_maps = options.mmap;
  // Sampled mode must stay small whatever the heap (P10); whoever asks for every allocation pays for it.
  tracker.arena.start(all ? std::uint64_t{8} << 30 : std::uint64_t{128} << 20);
  tracker.unwinder = choose_unwinder(options.unwind, tracker.arena);
  tracker.sampler.start(options.sample.mode, options.sample.interval_bytes, seed);
  tracker.stacks.start(tracker.arena);
  using Filter = LiveTable::Filter;
  tracker.live.start(tracker.arena, all ? LiveTable::kMaxShards : 64,
                     all ? Filter::kEveryAddress : Filter::kCounting, bootstrap_blocks());
  tracker.maps.start(tracker.arena);
  tracker.module_notes.start(tracker.arena);
  tracker.threads.start(tracker.arena);
  tracker.thread_id.start();
  (void)tracker.forks.start();
  if (tracker.unwinder.takes_locks) tracker.gate.start();
  tracker.session_start_ns.store(sys::clock_ns(CLOCK_MONOTONIC_COARSE), std::memory_order_relaxed);
  identify_thread();
  tracker.phase.store(Tracker::Phase::kActive, std::memory_order_release);
}

void disarm() {
  g_tracker.phase.store(Tracker::Phase::kDisarmed, std::memory_order_release);
  g_tracker.live.stop_asking(bootstrap_blocks());
}

bool adopt_fork() {
  switch (g_tracker.forks.check()) {
    case ForkGuard::State::kKnown:
      return true;
    case ForkGuard::State::kBeingAdopted:
      return false;
    case ForkGuard::State::kNewChild:
      break;
  }
  count(g_counters.forks_seen);
  count(g_counters.lost_table_full, g_tracker.live.repair_after_fork());
  count(g_counters.lost_maps, g_tracker.maps.repair_after_fork());
  if (g_tracker.gate.reset_after_fork() && g_tracker.unwinder.takes_locks) {
    count(g_counters.unwinders_lost_in_fork);
    g_tracker.unwinder = {capture_by_frame_pointer, "fp"};
  }
  if (!g_tracker.fixed_seed) g_tracker.sampler.reseed(g_tracker.thread_id.current());
  g_tracker.session_start_ns.store(sys::clock_ns(CLOCK_MONOTONIC_COARSE), std::memory_order_relaxed);
  if (!g_tracker.follow_children) disarm();
  g_tracker.forks.adopted();
  return true;
}

void allocated_slowly(const void* block, std::size_t size, Caller caller) {
  const InHook hook;
  if (!hook.entered()) {
    Sampler::unstep(size);  // not a trial: a part of the outer call
    count(g_counters.nested_calls);
    return;
  }
  if (!active()) {
    t_state.countdown =
        g_tracker.phase.load(std::memory_order_relaxed) == Tracker::Phase::kBefore ? 0 : kNever;
    return;
  }
  if (!g_tracker.record_heap) {
    t_state.countdown = kNever;
    return;
  }
  if (!ready_or_lost()) {
    Sampler::unstep(size);
    return;
  }
  const int saved_errno = errno;
  identify_thread();
  // The thread's first time here only draws its countdown: this allocation has yet to be tried.
  bool sample = g_tracker.sampler.rearm();
  if (!sample) {
    sample = Sampler::step(size);
    if (sample) (void)g_tracker.sampler.rearm();
  }
  if (sample && !g_tracker.paused.load(std::memory_order_relaxed)) {
    const std::uint64_t countdown = t_state.countdown;
    record_sample(hook, block, size, caller);
    t_state.countdown = countdown;  // what the unwinder allocated is not the program's
  }
  errno = saved_errno;
}

void freed(const void* block) {
  if (!block || !ready_to_erase()) return;
  const InHook hook;
  LiveRecord erased;
  if (erase(block, erased)) count_freed(erased);
}

void take(const void* block, TakenRecord& taken) {
  if (!ready_to_erase()) return;
  const InHook hook;
  taken.taken = erase(block, taken.record);
}

void put_back(const TakenRecord& taken) {
  if (!taken.taken) return;
  const InHook hook;
  (void)insert(taken.record);
}

void forget(const TakenRecord& taken) {
  if (taken.taken) count_freed(taken.record);
}

void resized(const TakenRecord& taken, const void* block, std::size_t size) {
  if (!taken.taken || !g_tracker.paused.load(std::memory_order_relaxed)) {
    forget(taken);
    return;
  }
  // Nothing new is recorded: it stays the allocation that it was.
  const InHook hook;
  LiveRecord record = taken.record;
  record.address = reinterpret_cast<std::uint64_t>(block);
  // A sample stands for blocks of the size that it was drawn by.
  if (g_tracker.sampling.mode == SamplingMode::kAll) record.size_bytes = size;
  count_allocated(record.stack, g_tracker.sampler.weight(record.size_bytes));
  count_freed(record.stack, g_tracker.sampler.weight(taken.record.size_bytes));
  (void)insert(record);
}

// --- mappings ---

namespace {

constexpr std::uint64_t kPageMask = kPageBytes - 1;

bool wants_maps() { return g_tracker.record_maps && ready_or_lost(); }

void commit(TakenRange& taken) {
  if (!taken.taken || taken.removed.count == 0) return;
  const bool done = g_tracker.maps.commit(taken.removed, this_thread_owner(),
                                          [](const Mapping& mapping, std::uint64_t bytes, bool last) {
                                            if (last) count(g_counters.samples_freed);
                                            if (counts_as_live(mapping.kind))
                                              count_freed(mapping.stack, whole(last, bytes));
                                          });
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
  mapping.stack = capture(hook, caller);
  t_state.countdown = countdown;
  if (mapping.stack != StackId::kNone) {
    mapping.address = reinterpret_cast<std::uint64_t>(address);
    mapping.size_bytes = round_to_pages(size);
    mapping.sample_number = t_state.next_sample++;
    mapping.birth_ns = sys::clock_ns(CLOCK_MONOTONIC_COARSE);
    mapping.thread = t_state.serial;
    mapping.kind = kind;
    const Weight weight = counts_as_live(kind) ? whole(1, mapping.size_bytes) : Weight{};
    count_allocated(mapping.stack, weight);
    g_tracker.any_live_map.store(true, std::memory_order_relaxed);
    if (drop_stale(mapping.address, mapping.size_bytes) &&
        g_tracker.maps.insert(mapping, this_thread_owner())) {
      count(g_counters.samples);
    } else {
      count(g_counters.lost_maps);
      uncount_allocated(mapping.stack, weight);
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
  const auto resize = [](const Mapping& mapping, std::uint64_t old_bytes, std::uint64_t bytes, bool gone) {
    if (gone) count(g_counters.samples_freed);
    if (!counts_as_live(mapping.kind)) return;
    count_allocated(mapping.stack, whole(0, bytes));
    count_freed(mapping.stack, whole(gone, old_bytes));
  };
  const bool done =
      drop_stale(address, size) &&
      g_tracker.maps.move(taken.removed, address, round_to_pages(size), this_thread_owner(), resize);
  if (!done) count(g_counters.lost_maps);
}

}  // namespace tracker
}  // namespace memtrace
