// The only place where stages meet: what the hooks tell, and what becomes of it.
//
// Called by: hooks (allocated() and freed() are the hot path: a thread-local subtraction, a filter load),
// start-up. Threads: any. Signals: cold paths interrupted by a handler that allocates pass the inner call
// through. Before start() and after disarm() the hooks only forward (P7).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "preload/capture_gate.hpp"
#include "preload/fork_guard.hpp"
#include "preload/in_hook.hpp"
#include "preload/live_maps.hpp"
#include "preload/live_table.hpp"
#include "preload/module_notes.hpp"
#include "preload/options.hpp"
#include "preload/ready_epoch.hpp"
#include "preload/sampler.hpp"
#include "preload/stack_store.hpp"
#include "preload/sys/thread_id.hpp"
#include "preload/thread_registry.hpp"
#include "preload/unwind/unwinder.hpp"

namespace memtrace {

struct Tracker {
  // Written by start() alone, before phase becomes kActive.
  SampleSetting sampling;
  std::uint32_t max_frames = 0;
  bool fixed_seed = false;
  bool follow_children = true;
  bool record_maps = true;
  bool record_heap = true;  // false: the program's malloc is not ours
  Unwinder unwinder;
  bool remember_walks = false;         // mode all, by rules
  std::uintptr_t allocator_begin = 0;  // the module of the real malloc: what it maps is not the program's
  std::uintptr_t allocator_end = 0;

  enum class Phase : std::uint8_t { kBefore, kActive, kDisarmed };
  std::atomic<Phase> phase{Phase::kBefore};
  std::atomic<bool> paused{false};  // memtrace_stop(): nothing new is recorded, frees still are
  std::atomic<bool> any_live_map{false};

  PageArena arena;
  Sampler sampler;
  StackStore stacks;
  ModuleNotes module_notes;
  LiveTable live;
  LiveMaps maps;
  ThreadRegistry threads;
  CaptureGate gate;
  ForkGuard forks;
  ReadyEpoch epoch;                               // of phase, forks, record_heap and paused
  std::atomic<std::int64_t> session_start_ns{0};  // CLOCK_MONOTONIC; a forked child's is when it was noticed
  sys::ThreadId thread_id;
};

extern constinit Tracker g_tracker [[gnu::visibility("hidden")]];

namespace tracker {

// Seals the settings and begins to record. `memory_left`: bytes that the limits on the process leave, of
// which most stay the program's. Called once, from the constructor, inside a hook guard.
void start(const Options& options, std::uint64_t seed, std::uint64_t memory_left);
// memtrace_stop() and memtrace_start(). Any thread.
void pause(bool paused);
// Stops for good; the host lives on (P5). Any thread.
void disarm();
[[nodiscard]] inline bool active() {
  return g_tracker.phase.load(std::memory_order_relaxed) == Tracker::Phase::kActive;
}

// Sets up a forked child on its first cold path. False: touch nothing, another thread is at it.
[[nodiscard, gnu::cold]] bool adopt_child(ForkGuard::State state);
[[nodiscard, gnu::always_inline]] inline bool adopt_fork() {
  const ForkGuard::State state = g_tracker.forks.check();
  return state == ForkGuard::State::kKnown || adopt_child(state);
}

// Recording, in a process that is set up: what every cold path asks first.
[[nodiscard]] inline bool ready() { return active() && adopt_fork() && active(); }

// The short way of mode all, see tracker_every.cpp. False: nothing was done. recorded_shortly: after the
// step.
[[nodiscard]] bool recorded_shortly(const void* block, std::size_t size, Caller caller);
[[nodiscard]] bool erased_shortly(const void* block);
// All was ready for it, and this the number before that was found out.
void ready_for_short_way(std::uint64_t epoch);

// The cold halves of what follows.
[[gnu::noinline]] void allocated_slowly(const void* block, std::size_t size, Caller caller);

// A block of `size` requested bytes was handed out. Hot.
[[gnu::always_inline]] inline void allocated(const void* block, std::size_t size, Caller caller) {
  if (block && Sampler::step(size)) [[unlikely]] {
    allocated_slowly(block, size, caller);
  }
}

// The same, where it is probably a sample. Returns the block.
void* allocated_probably(void* block, std::size_t size, Caller caller);

// Hot: asked before every free and realloc. True for the blocks of the bootstrap buffer, too.
[[nodiscard, gnu::always_inline]] inline bool may_be_live(const void* block) {
  return g_tracker.live.may_contain(reinterpret_cast<std::uint64_t>(block));
}

// A block that may be live is about to be freed: before the real free (P2).
void freed(const void* block);

// realloc of a block that may be live: takes its record out before the real call. Failed: put it back.
struct TakenRecord {
  LiveRecord record;
  bool taken = false;
};
void take(const void* block, TakenRecord& taken);
[[nodiscard]] bool taken_shortly(const void* block, TakenRecord& taken);
void put_back(const TakenRecord& taken);
// The real call made it another block of `size` bytes, which allocated() will hear of.
void resized(const TakenRecord& taken, const void* block, std::size_t size);

// Mappings. All sizes in bytes, any alignment; caller decides whose they are.
void mapped(void* address, std::size_t size, int protection, int flags, Caller caller);
struct TakenRange {
  LiveMaps::Removed removed;
  bool taken = false;
};
void take_range(const void* address, std::size_t size, TakenRange& taken);
void put_back(TakenRange& taken);
void forget(TakenRange& taken);
// The kernel moved or resized it, which remapped() will hear of.
void moved(TakenRange& taken, void* to, std::size_t size);
// After a successful mremap from a mapping of this kind.
void remapped(void* address, std::size_t size, AllocKind kind, Caller caller);
[[nodiscard]] bool mapping_kind(const void* address, AllocKind& kind);

}  // namespace tracker
}  // namespace memtrace
