// Keeps forks and captures apart, for unwinders that take the loader's lock: a child forked in the middle of
// another thread's capture would inherit that lock with nobody to release it (glibc re-initialises it in no
// version we know).
//
// Called by: the atfork handlers, the cold path around each capture. Waiting is bounded on both sides; when a
// fork could not wait long enough, the child is told (reset_after_fork) and must not use such an unwinder
// again. Correctness of the tables does not depend on any of this (P9). Unwinders without locks leave the
// gate off.
#pragma once

#include <atomic>
#include <cstdint>

#include "preload/capture_buffers.hpp"

namespace memtrace {

class CaptureGate {
 public:
  // At start: registers the atfork handlers where the libc has them.
  void start();

  // A buffer to capture into, not while another thread forks. nullptr: none free.
  [[nodiscard]] CaptureBuffers::Buffer* enter(std::uint32_t hint);
  void leave(CaptureBuffers::Buffer* buffer);

  // In a child that has not been set up yet: true if a capture was at work when it was forked. Resets the
  // gate.
  [[nodiscard]] bool reset_after_fork();

 private:
  static constexpr std::int64_t kPatienceNs = 50'000'000;

  static void before_fork();
  static void after_fork_in_parent();

  CaptureBuffers buffers_;
  std::atomic<std::uint32_t> forking_{0};  // threads between before_fork and after_fork_in_parent
  // A capture has waited for this fork in vain: it may be the fork that waits, in another handler, for a lock
  // that the capturing thread has, and for each of its captures. The next ones go on at once.
  std::atomic<bool> in_vain_{false};
  // Sets of buffers. Stuck: a fork waited for them in vain. Abandoned: and they were still out after it, so
  // that cancelled threads took them along: nobody waits for those twice.
  std::atomic<std::uint64_t> stuck_{0};
  std::atomic<std::uint64_t> abandoned_{0};
};

}  // namespace memtrace
