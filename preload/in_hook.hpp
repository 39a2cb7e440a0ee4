// InHook: proof that this thread is inside a hook exactly once (P3).
//
// Constructed on the cold path of a hook; functions that may only run there take `const InHook&`.
// The guard is the stack address of its holder, so that a thread that was cancelled or jumped out of a hook
// does not keep it: a later call from further up the stack takes it over. A handler on an alternate signal
// stack says nothing about the stack below: it takes nothing over. Signal-safe. Cost: a few thread-local
// accesses; one system call where a guard from further down the stack is found.
#pragma once

#include <signal.h>

#include <cstdint>

#include "preload/sys/syscalls.hpp"
#include "preload/thread_state.hpp"

namespace memtrace {

class InHook {
 public:
  [[gnu::always_inline]] InHook() : previous_(t_state.guard_sp) {
    const auto here = reinterpret_cast<std::uintptr_t>(this);
    entered_ = previous_ == 0 || (here >= previous_ && !on_another_stack(previous_));
    if (entered_) t_state.guard_sp = here;
  }
  [[gnu::always_inline]] ~InHook() {
    if (entered_) t_state.guard_sp = 0;
  }
  InHook(const InHook&) = delete;
  InHook& operator=(const InHook&) = delete;

  // False: a hook further out is at work on this thread; pass through.
  [[nodiscard]] bool entered() const { return entered_; }

 private:
  // This thread is on its alternate signal stack, and `guard` is not. (A guard that is stale passes for one
  // in use then, until the handler returns: some samples are lost.)
  [[gnu::cold, gnu::noinline]] static bool on_another_stack(std::uintptr_t guard) {
    stack_t alternative{};
    if (sys::call(SYS_sigaltstack, nullptr, &alternative) != 0) return false;
    if (!(static_cast<unsigned>(alternative.ss_flags) & static_cast<unsigned>(SS_ONSTACK))) return false;
    return guard - reinterpret_cast<std::uintptr_t>(alternative.ss_sp) >= alternative.ss_size;
  }

  std::uintptr_t previous_;
  bool entered_;
};

// Around a real function that may itself call a hooked one (reallocarray everywhere, calloc and memalign in
// musl): the inner call passes through, and its share of the countdown is given back, so that the outer one
// is the only trial.
class NestedCalls {
 public:
  [[gnu::always_inline]] NestedCalls() : countdown_(t_state.countdown) {}
  [[gnu::always_inline]] ~NestedCalls() { t_state.countdown = countdown_; }
  NestedCalls(const NestedCalls&) = delete;
  NestedCalls& operator=(const NestedCalls&) = delete;

 private:
  InHook hook_;
  std::uint64_t countdown_;
};

}  // namespace memtrace
