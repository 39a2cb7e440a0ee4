// InHook: proof that this thread is inside a hook exactly once (P3).
//
// Constructed on the cold path of a hook; functions that may only run there take `const InHook&`.
// The guard is the stack address of its holder, so that a thread that was cancelled or jumped out of a hook
// does not keep it: a later call from further up the stack takes it over. Signal-safe. Cost: a few
// thread-local accesses.
#pragma once

#include <cstdint>

#include "preload/thread_state.hpp"

namespace memtrace {

class InHook {
 public:
  [[gnu::always_inline]] InHook() : previous_(t_state.guard_sp) {
    const auto here = reinterpret_cast<std::uintptr_t>(this);
    entered_ = previous_ == 0 || here >= previous_;
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
  std::int64_t countdown_;
};

}  // namespace memtrace
