#include "preload/tracker.hpp"

#include <errno.h>

#include "preload/counters.hpp"
#include "preload/real.hpp"
#include "preload/sys/syscalls.hpp"
#include "preload/tracker_stacks.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {

constinit Tracker g_tracker;
constinit thread_local ThreadState t_state [[gnu::tls_model("initial-exec")]];

namespace tracker {
namespace {

// More than any host needs between two cold paths of a thread that is not to be sampled.
constexpr std::uint64_t kNever = INT64_MAX;

void record_sample(const InHook& hook, const void* block, std::size_t size, Caller caller) {
  const Recorded recorded = capture(hook, caller);
  if (recorded.stack == StackId::kNone) return;
  LiveRecord record;
  record.stack = recorded.stack;
  record.address = reinterpret_cast<std::uint64_t>(block);
  record.size_bytes = size;
  record.sample_number = t_state.next_sample++;
  record.birth_ns = sys::clock_ns(CLOCK_MONOTONIC_COARSE);
  record.thread = t_state.serial;
  if (!insert(record)) return;
  count_allocated(recorded, g_tracker.sampler.weight(size));
  count_sample();
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

bool insert(const LiveRecord& record) {
  LiveRecord replaced;
  switch (g_tracker.live.insert(record, this_thread_owner(), replaced)) {
    case LiveTable::Insert::kAdded:
      return true;
    case LiveTable::Insert::kReplaced:
      count(g_counters.replaced_records);
      return true;
    case LiveTable::Insert::kReplacedLost:
      count(g_counters.replaced_records);
      [[fallthrough]];
    case LiveTable::Insert::kLost:
      count(g_counters.lost_table_full);
      return false;
    case LiveTable::Insert::kLostLock:
      count(g_counters.lost_lock);
      return false;
  }
  return false;
}

void start(const Options& options, std::uint64_t seed, std::uint64_t memory_left) {
  Tracker& tracker = g_tracker;
  const bool all = options.sample.mode == SamplingMode::kAll;
  tracker.sampling = options.sample;
  tracker.max_frames = options.max_frames;
  tracker.fixed_seed = options.seed != 0;
  tracker.follow_children = options.children;
  tracker.record_maps = options.mmap;
  // Sampled mode must stay small whatever the heap (P10); whoever asks for every allocation pays for it.
  const std::uint64_t cap = all ? std::uint64_t{8} << 30 : std::uint64_t{128} << 20;
  const std::uint64_t share = memory_left / 4;
  tracker.arena.start(share < cap ? share : cap);
  tracker.unwinder = choose_unwinder(options.unwind, tracker.arena);
  tracker.remember_walks = all && tracker.unwinder.capture == capture_by_cfi;
  tracker.session_start_ns.store(sys::clock_ns(CLOCK_MONOTONIC_COARSE), std::memory_order_relaxed);
  tracker.sampler.start(options.sample.mode, options.sample.interval_bytes, seed);
  tracker.stacks.start(tracker.arena);
  using Filter = LiveTable::Filter;
  tracker.live.start(tracker.arena, all ? LiveTable::kMaxShards : 64,
                     all ? Filter::kEveryAddress : Filter::kCounting, bootstrap_blocks(),
                     tracker.session_start_ns.load(std::memory_order_relaxed));
  tracker.maps.start(tracker.arena);
  tracker.module_notes.start(tracker.arena);
  tracker.threads.start(tracker.arena);
  tracker.thread_id.start();
  (void)tracker.forks.start();
  tracker.epoch.start(tracker.forks.wiped_word());
  if (tracker.unwinder.takes_locks) tracker.gate.start();
  identify_thread();
  tracker.phase.store(Tracker::Phase::kActive, std::memory_order_release);
}

void disarm() {
  g_tracker.phase.store(Tracker::Phase::kDisarmed, std::memory_order_release);
  g_tracker.epoch.changed();
  g_tracker.live.stop_asking(bootstrap_blocks());
}

bool adopt_child(ForkGuard::State state) {
  if (state == ForkGuard::State::kBeingAdopted) return false;
  count(g_counters.forks_seen);
  count(g_counters.lost_table_full, g_tracker.live.repair_after_fork(this_thread_owner()));
  count(g_counters.lost_maps, g_tracker.maps.repair_after_fork(this_thread_owner()));
  if (g_tracker.gate.reset_after_fork() && g_tracker.unwinder.takes_locks) {
    count(g_counters.unwinders_lost_in_fork);
    g_tracker.unwinder = {capture_by_frame_pointer, "fp"};
  }
  if (!g_tracker.fixed_seed) g_tracker.sampler.reseed(g_tracker.thread_id.current());
  g_tracker.session_start_ns.store(sys::clock_ns(CLOCK_MONOTONIC_COARSE), std::memory_order_relaxed);
  if (!g_tracker.follow_children) disarm();
  g_tracker.forks.adopted();
  g_tracker.epoch.changed();
  return true;
}

void pause(bool paused) {
  g_tracker.paused.store(paused, std::memory_order_relaxed);
  g_tracker.epoch.changed();
}

void allocated_slowly(const void* block, std::size_t size, Caller caller) {
  if (recorded_shortly(block, size, caller)) return;
  const std::uint64_t epoch = g_tracker.epoch.current();
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
    if (g_tracker.remember_walks) ready_for_short_way(epoch);
  }
  errno = saved_errno;
}

void freed(const void* block) {
  if (!block || !ready_to_erase()) return;
  const InHook hook;
  LiveRecord erased;
  (void)erase(block, erased);
}

void take(const void* block, TakenRecord& taken) {
  if (taken_shortly(block, taken)) return;
  if (!ready_to_erase()) return;
  const InHook hook;
  taken.taken = erase(block, taken.record);
}

void put_back(const TakenRecord& taken) {
  if (!taken.taken) return;
  const InHook hook;
  (void)insert(taken.record);
}

void resized(const TakenRecord& taken, const void* block, std::size_t size) {
  if (!taken.taken || !g_tracker.paused.load(std::memory_order_relaxed)) return;
  // Nothing new is recorded: it stays the allocation that it was.
  const InHook hook;
  LiveRecord record = taken.record;
  record.address = reinterpret_cast<std::uint64_t>(block);
  // A sample stands for blocks of the size that it was drawn by.
  if (g_tracker.sampling.mode == SamplingMode::kAll) record.size_bytes = size;
  if (!insert(record)) return;
  const Weight now = g_tracker.sampler.weight(record.size_bytes);
  const Weight before = g_tracker.sampler.weight(taken.record.size_bytes);
  count_allocated(record.stack, {now.count - before.count, now.bytes - before.bytes});
}

}  // namespace tracker
}  // namespace memtrace
