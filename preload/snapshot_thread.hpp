// The thread that takes snapshots: exists only while there is one to take.
//
// post() is called by the handler of the trigger signal: one compare-and-swap, signals blocked, a raw clone,
// restored. take_and_wait() by the exit hook and the C API. The thread has a reserved stack and a thread
// block of its own, so that the host's libc never hears of it; it makes raw system calls only, with every
// signal blocked.
#pragma once

#include <atomic>
#include <cstdint>

#include "preload/snapshotter.hpp"

namespace memtrace {

class SnapshotThread {
 public:
  // At start. False: no memory, requests will be refused.
  [[nodiscard]] bool start();

  // Async-signal-safe. A request while a snapshot is at work is answered by one more after it; further ones
  // fall together with that one, or with that of somebody who has waited all that time for a turn. Where the
  // thread cannot be made, that is counted and said.
  void post(const SnapshotRequest& request);

  // Waits for its turn and for a thread at work, takes a snapshot of its own and waits for it. 0 or an errno
  // value; `path` is the file's. Not for signal handlers.
  [[nodiscard]] int take_and_wait(const SnapshotRequest& request, Path& path);

  // Waits until the process is without this thread, two seconds at most: what hangs on a disk is not worth
  // more of the program's time. No system call where there never was one. ever_was() is true in a forked
  // child of a process that had one, too.
  void wait_until_gone();
  [[nodiscard]] bool ever_was() const {
    return (thread_.load(std::memory_order_acquire) | last_.load(std::memory_order_relaxed)) != 0;
  }

 private:
  // kNone also means: a finished thread may still be on its way out; thread_ is zeroed by the kernel when it
  // has left.
  enum class State : std::uint32_t { kNone, kRunning, kRunningAndAsked };

  // State and fork generation in one word: what a parent's thread was doing at the fork is kNone in the child
  // (P9).
  [[nodiscard]] static std::uint32_t word(State state);
  [[nodiscard]] static bool of_this_process(std::uint32_t seen);
  [[nodiscard]] static State state_of(std::uint32_t seen);

  [[nodiscard]] static std::uint32_t turn_word();
  void take_turn();
  void pass_turn();
  [[nodiscard]] bool claim();
  [[nodiscard]] int launch();
  [[noreturn]] static void run();

  std::atomic<std::uint32_t> state_{0};
  std::atomic<std::uint32_t> thread_{0};  // kernel id while it exists
  std::atomic<std::uint32_t> last_{0};    // and when it has gone
  std::atomic<std::uint32_t> turn_{0};  // who is inside take_and_wait: fork generation * 2 + 1; even: nobody
  std::atomic<std::uint32_t> claiming_{0};  // the same word while its holder waits for a thread at work
  std::atomic<std::int64_t> left_ns_{0};    // when a thread gave way to it
  SnapshotRequest request_;
  // For whoever waits for request_: others are answered by no one, and may come and go before it has read
  // this.
  bool awaited_ = false;
  std::atomic<bool> answered_{false};
  std::atomic<bool> went_on_{false};  // to other requests, after it
  int result_ = 0;
  Path path_;
  char* stack_ = nullptr;
  char* thread_block_ = nullptr;
};

extern constinit SnapshotThread g_snapshot_thread;

}  // namespace memtrace
