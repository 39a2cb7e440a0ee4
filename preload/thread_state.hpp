// Per-thread state of the shim: one initial-exec TLS block (P8).
//
// Zero is its valid first state: a countdown of 0 sends the thread's first allocation to the cold path, which
// seeds it. Touched by its own thread only; a signal handler of that thread may interrupt any access.
#pragma once

#include <cstdint>
#include <type_traits>

namespace memtrace {

struct ThreadSlab;

struct ThreadState {
  std::uint64_t countdown = 0;    // bytes until the next sample; passes below zero with the one that is it
  std::uint64_t random = 0;       // generator state; 0: not seeded yet
  std::uint64_t next_sample = 0;  // sample number within this thread
  std::uintptr_t guard_sp = 0;    // stack address of the hook in progress; 0: none
  std::uint32_t serial = 0;       // thread serial within the process image, from 1; 0: not given yet
  std::uint32_t fork_generation = 0;  // when `tid` was last registered
  std::uint32_t resolving = 0;        // this thread is inside real::resolve
  ThreadSlab* slab = nullptr;         // thread_slabs.hpp; none before the first capture
};
static_assert(sizeof(ThreadState) <= 64, "P8: static TLS space is scarce in hosts that load us late");
static_assert(std::is_trivially_destructible_v<ThreadState>);

extern constinit thread_local ThreadState t_state [[gnu::tls_model("initial-exec")]];

}  // namespace memtrace
