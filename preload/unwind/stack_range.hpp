// What part of memory a walk may read: the stack that the calling thread runs on, as far as it is known.
//
// Called by: the walk: once at its start (hot: two compares), and when a step leaves the range (cold).
// Threads: each its own. Signals: safe. Nothing asks libc for a stack's bounds: that takes locks and
// allocates (D4). Instead the kernel is asked whether pages can be read, by madvise alone (decision 9). A
// kernel before 5.14 cannot say: walks then stay in their first page, but for the main thread's stack.
//
// A range is anchored when it ends at a place that lives as long as the thread: its control block, which libc
// puts above its stack, or the top of the main stack. An anchored range cannot go away under a running thread
// and is kept in its slab. Any other stack (coroutines, signal stacks) may be unmapped or used again between
// two captures: its pages are asked for in each one.
#pragma once

#include <cstdint>

#include "preload/thread_slabs.hpp"

namespace memtrace {

// What is known of a stack pointer: that the thread runs there now, or only what a signal frame says, or what
// looks like one.
enum class StackPointer : std::uint8_t { kInUse, kClaimed };

class StackRange {
 public:
  // Once, at start, on the thread that runs main.
  static void note_main_stack();

  // Of the stack that `sp` points into. slab: the thread's, or nullptr.
  StackRange(std::uintptr_t sp, ThreadSlab* slab, StackPointer known = StackPointer::kInUse) {
    if (slab && sp > slab->stack_low && sp < slab->stack_high) [[likely]] {
      low_ = slab->stack_low;
      high_ = slab->stack_high;
      return;
    }
    find(sp, slab, known);
  }

  [[nodiscard]] std::uintptr_t low() const { return low_; }
  [[nodiscard]] std::uintptr_t high() const { return high_; }
  [[nodiscard]] bool anchored() const { return anchored_; }

  // Whether [from, to) of the range, some bytes, is so now: for steps that may lead anywhere in it. What lies
  // right below `known` was just read. A thread without a guard page may have coroutine stacks below its own,
  // of which one may be unmapped by now; its own it may protect in part.
  [[nodiscard]] bool still_readable(std::uintptr_t known, std::uintptr_t from, std::uintptr_t to) const;

  // Makes the range reach up to `end`, if the pages in between can be read.
  [[nodiscard]] bool extend(std::uintptr_t end);

 private:
  void find(std::uintptr_t sp, ThreadSlab* slab, StackPointer known);
  [[nodiscard]] bool find_anchored(std::uintptr_t sp, ThreadSlab& slab, StackPointer known);

  std::uintptr_t low_ = 0;
  std::uintptr_t high_ = 0;
  bool anchored_ = true;
};

}  // namespace memtrace
