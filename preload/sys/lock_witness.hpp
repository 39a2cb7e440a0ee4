// Watches the use of locks in builds for tests; in others every function is empty and no instruction is left.
//
// Called by: BoundedLock, after each acquisition and before each release. Threads, signals, memory: one word
// of thread-local storage, no calls but to say what is wrong.
//   MEMTRACE_LOCK_WITNESS   a thread that takes a lock while it holds another says so and dies (P4, which P5
//   has
//                           to stand back for). Its holder is named by owner: a test that plays several
//                           threads may hold several. A handler that allocates in the midst of a section is
//                           taken for one, too: not for programs that do that.
//   MEMTRACE_HELGRIND       helgrind is told, which sees neither compare-and-swap nor futex.
#pragma once

#include <cstdint>

#if defined(MEMTRACE_HELGRIND)
#include <valgrind/helgrind.h>
#endif

#include "preload/sys/syscalls.hpp"

// Objects with and without it must not be linked together: then one name would have two bodies.
#if defined(MEMTRACE_LOCK_WITNESS) || defined(MEMTRACE_HELGRIND)
#define MEMTRACE_LOCK_VARIANT watched
#else
#define MEMTRACE_LOCK_VARIANT plain
#endif

namespace memtrace {
inline namespace MEMTRACE_LOCK_VARIANT {
#if defined(MEMTRACE_LOCK_WITNESS)
struct HeldLock {
  const void* lock;
  std::uint32_t owner;
};
inline constinit thread_local HeldLock t_held_lock [[gnu::tls_model("initial-exec")]]{};
#endif

class LockWitness {
 public:
  [[gnu::always_inline]] static void took([[maybe_unused]] const void* lock,
                                          [[maybe_unused]] std::size_t size,
                                          [[maybe_unused]] std::uint32_t owner) {
#if defined(MEMTRACE_LOCK_WITNESS)
    if (t_held_lock.lock && t_held_lock.owner == owner) die();
    t_held_lock = {lock, owner};
#endif
#if defined(MEMTRACE_HELGRIND)
    VALGRIND_HG_DISABLE_CHECKING(lock, size);  // of its own words
    VALGRIND_HG_MUTEX_LOCK_POST(lock);
#endif
  }
  [[gnu::always_inline]] static void lets_go([[maybe_unused]] const void* lock) {
#if defined(MEMTRACE_HELGRIND)
    VALGRIND_HG_MUTEX_UNLOCK_PRE(lock);
#endif
    forgets(lock);
  }
  // Its holder vanished in a fork: in tests this thread may have played it.
  [[gnu::always_inline]] static void forgets([[maybe_unused]] const void* lock) {
#if defined(MEMTRACE_LOCK_WITNESS)
    if (t_held_lock.lock == lock) t_held_lock = {};
#endif
  }

 private:
  [[noreturn, gnu::noinline, gnu::cold]] static void die() {
    constexpr char kText[] = "memtrace: a thread takes a lock while it holds another (P4)\n";
    sys::call(SYS_write, 2, kText, sizeof kText - 1);
    __builtin_trap();
  }
};

// What a thread wrote before hands_over(word) may be read after takes_over(word): told to helgrind where one
// thread hands things to another by an atomic word of its own.
[[gnu::always_inline]] inline void hands_over([[maybe_unused]] const void* word) {
#if defined(MEMTRACE_HELGRIND)
  ANNOTATE_HAPPENS_BEFORE(word);
#endif
}
[[gnu::always_inline]] inline void takes_over([[maybe_unused]] const void* word) {
#if defined(MEMTRACE_HELGRIND)
  ANNOTATE_HAPPENS_AFTER(word);
#endif
}

// Memory whose words are atomic, or written before they are published by one: helgrind may not judge it. All
// pages of the arena are, but for those that a table then puts under_lock().
[[gnu::always_inline]] inline void lock_free([[maybe_unused]] const void* memory,
                                             [[maybe_unused]] std::size_t bytes) {
#if defined(MEMTRACE_HELGRIND)
  VALGRIND_HG_DISABLE_CHECKING(memory, bytes);
#endif
}
[[gnu::always_inline]] inline void under_lock([[maybe_unused]] const void* memory,
                                              [[maybe_unused]] std::size_t bytes) {
#if defined(MEMTRACE_HELGRIND)
  VALGRIND_HG_ENABLE_CHECKING(memory, bytes);
#endif
}

}  // namespace MEMTRACE_LOCK_VARIANT
}  // namespace memtrace
