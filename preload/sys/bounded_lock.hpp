// A lock that cannot hang its host: bounded waiting, owner known, repairable after fork.
//
// Called by: cold paths and the snapshot thread. Uncontended: one compare-and-swap to acquire; releasing is a
// plain store: another locked instruction would double the cost.
// Never held across the unwinder, the loader, file I/O or the real allocator (P4). Full or failing: acquire()
// gives up when the owner is this very thread (a signal handler inside the section), after kPatienceNs, or at
// once where another thread has waited in vain for this holder; the caller drops its work and counts it (P5).
// A program whose threads are cancelled or jump out of sections leaves many locks held: each wait in vain
// halves the patience with all of them, so that waiting is bounded by the process, not by the lock. A wait
// that was not in vain restores it.
#pragma once

#include <atomic>
#include <cstdint>

#include "preload/sys/lock_witness.hpp"
#include "preload/sys/syscalls.hpp"
#include "preload/thread_state.hpp"

namespace memtrace {

// Who takes the lock: the thread's serial, or the snapshot thread, which has none.
enum class LockOwner : std::uint32_t { kNobody = 0, kSnapshotThread = 0x3fffffff };
inline LockOwner this_thread_owner() { return static_cast<LockOwner>(t_state.serial & 0x3fffffff); }

inline namespace MEMTRACE_LOCK_VARIANT {
class BoundedLock {
 public:
  // False: not acquired, see above. Precondition: owner is not kNobody.
  [[nodiscard]] bool acquire(LockOwner owner) {
    if (try_acquire(owner)) [[likely]] {
      return true;
    }
    return acquire_slowly(static_cast<std::uint32_t>(owner));
  }

  // False as well where somebody else has it just now.
  [[nodiscard, gnu::always_inline]] bool try_acquire(LockOwner owner) {
    std::uint32_t expected = 0;
    if (!word_.compare_exchange_strong(expected, static_cast<std::uint32_t>(owner),
                                       std::memory_order_acquire)) {
      return false;
    }
    LockWitness::took(this, sizeof *this, static_cast<std::uint32_t>(owner));
    return true;
  }

  [[gnu::always_inline]] void release() {
    LockWitness::lets_go(this);
    word_.store(0, std::memory_order_release);
    // This load may be done before that store is seen: a waiter that begins to sleep in between finds the
    // word changed, or wakes by itself.
    if (waiters_.load(std::memory_order_relaxed)) [[unlikely]] {
      wake();
    }
  }

  // In a forked child, before other threads exist: true if a thread that is gone held the lock, which is
  // free now. `survivor` is the one that is not gone: where a handler forked in the midst of its section,
  // it has yet to come back to it.
  [[nodiscard]] bool reset_after_fork(LockOwner survivor) {
    const std::uint32_t holder = word_.load(std::memory_order_relaxed) & ~kStuck;
    if (holder == 0 || holder == static_cast<std::uint32_t>(survivor)) return false;
    LockWitness::forgets(this);
    word_.store(0, std::memory_order_relaxed);
    return true;
  }

 private:
  static constexpr std::uint32_t kStuck =
      0x40000000;  // somebody waited in vain: nobody does until it is released
  static constexpr std::int64_t kPatienceNs = 2'000'000'000;
  static constexpr std::int64_t kLeastPatienceNs = 4'000'000;
  static constexpr long kNapNs = 2'000'000;
  static inline constinit std::atomic<std::int64_t> patience_ns_{kPatienceNs};

  [[gnu::noinline]] void wake() {
    waiters_.store(0, std::memory_order_relaxed);
    sys::futex_wake(&word_, 1 << 30);
  }
  [[gnu::noinline, gnu::cold]] bool acquire_slowly(std::uint32_t owner) {
    lock_free(&patience_ns_, sizeof patience_ns_);
    std::int64_t give_up_at = 0;
    for (unsigned spins = 0;; ++spins) {
      std::uint32_t seen = word_.load(std::memory_order_relaxed);
      if (seen == 0) {
        if (!word_.compare_exchange_strong(seen, owner, std::memory_order_acquire)) continue;
        LockWitness::took(this, sizeof *this, owner);
        if (give_up_at != 0) patience_ns_.store(kPatienceNs, std::memory_order_relaxed);
        return true;
      }
      if ((seen & kStuck) || seen == owner) return false;
      if (spins < 100) {
        __builtin_ia32_pause();
        continue;
      }
      const std::int64_t now = sys::clock_ns(CLOCK_MONOTONIC);
      const std::int64_t patience = patience_ns_.load(std::memory_order_relaxed);
      if (give_up_at == 0) give_up_at = now + patience;
      if (now >= give_up_at) {
        patience_ns_.store(patience / 2 > kLeastPatienceNs ? patience / 2 : kLeastPatienceNs,
                           std::memory_order_relaxed);
        // Fails if the holder has just let go: then there is nothing to mark.
        word_.compare_exchange_strong(seen, seen | kStuck, std::memory_order_relaxed);
        return false;
      }
      waiters_.store(1, std::memory_order_seq_cst);
      const timespec timeout{0, kNapNs};
      sys::futex_wait(&word_, seen, &timeout);
    }
  }

  std::atomic<std::uint32_t> word_{0};
  std::atomic<std::uint32_t> waiters_{0};  // somebody sleeps, or did
};

// Scope of a lock; `held()` says whether it was had.
class [[nodiscard]] LockScope {
 public:
  LockScope(BoundedLock& lock, LockOwner owner) : lock_(lock), held_(lock.acquire(owner)) {}
  ~LockScope() {
    if (held_) lock_.release();
  }
  LockScope(const LockScope&) = delete;
  LockScope& operator=(const LockScope&) = delete;
  [[nodiscard]] bool held() const { return held_; }

 private:
  BoundedLock& lock_;
  bool held_;
};

}  // namespace MEMTRACE_LOCK_VARIANT
}  // namespace memtrace
