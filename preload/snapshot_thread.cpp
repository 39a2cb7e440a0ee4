#include "preload/snapshot_thread.hpp"

#include <errno.h>
#include <sched.h>

#include "preload/counters.hpp"
#include "preload/sys/diag.hpp"
#include "preload/sys/lock_witness.hpp"
#include "preload/sys/pages.hpp"
#include "preload/sys/syscalls.hpp"
#include "preload/thread_state.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {

constinit SnapshotThread g_snapshot_thread;

namespace {

constexpr std::size_t kStackBytes = 256 * 1024;
constexpr std::size_t kBehindThreadPointer =
    kPageBytes;  // what libc code may read there: a zero stack canary

std::size_t before_thread_pointer() {
  // Our thread-local block lies below the thread pointer; the new block must reach as far.
  std::uintptr_t thread_pointer;
  asm("movq %%fs:0, %0" : "=r"(thread_pointer));
  return round_to_pages(thread_pointer - reinterpret_cast<std::uintptr_t>(&t_state));
}

[[gnu::cold, gnu::noinline]] void say_refused(int error) {
  Line line;
  line << "snapshot refused: its thread could not be started: ";
  if (error == EINVAL) {  // as after `unshare --pid`, which allows a process no thread
    line << "its next children are for another PID namespace";
  } else {
    diag::append_error(line, error);
  }
  diag::say(LogLevel::kError, line);
}

// The kernel clears a thread's word a moment before it takes the thread off the process's list; until then it
// refuses what it grants to single-threaded processes only (unshare, setns).
void wait_until_off_the_list(std::uint32_t thread) {
  constexpr int kPatience = 10000;
  for (int i = 0; thread != 0 && i < kPatience; ++i) {
    if (sys::call(SYS_tgkill, sys::pid(), thread, 0) != 0) return;
    sys::call(SYS_sched_yield);
  }
}

}  // namespace

bool SnapshotThread::start() {
  const std::size_t below = before_thread_pointer();
  auto* pages = static_cast<char*>(sys::map_pages(kPageBytes + kStackBytes + below + kBehindThreadPointer));
  if (!pages) return false;
  sys::call(SYS_mprotect, pages, kPageBytes, PROT_NONE);  // an overflow must not reach somebody's data
  stack_ = pages + kPageBytes;
  thread_block_ = stack_ + kStackBytes + below;
  // g++ finds thread-local variables through the word the thread pointer points at.
  *reinterpret_cast<char**>(thread_block_) = thread_block_;
  return true;
}

std::uint32_t SnapshotThread::word(State state) {
  return g_tracker.forks.generation() << 2 | static_cast<std::uint32_t>(state);
}

bool SnapshotThread::of_this_process(std::uint32_t seen) { return seen >> 2 == word(State::kNone) >> 2; }

SnapshotThread::State SnapshotThread::state_of(std::uint32_t seen) {
  return of_this_process(seen) ? static_cast<State>(seen & 3) : State::kNone;
}

// True: the caller owns request_ and the stack, and must launch or give up.
bool SnapshotThread::claim() {
  std::uint32_t seen = state_.load(std::memory_order_acquire);
  if (state_of(seen) != State::kNone ||
      !state_.compare_exchange_strong(seen, word(State::kRunning), std::memory_order_acq_rel)) {
    return false;
  }
  if (!of_this_process(seen)) thread_.store(0, std::memory_order_relaxed);  // the parent's
  // The last thread has nothing left to do but leave its stack.
  for (std::uint32_t last; (last = thread_.load(std::memory_order_acquire)) != 0;) {
    const timespec moment{0, 1'000'000};
    sys::call(SYS_futex, &thread_, FUTEX_WAIT, last,
              &moment);  // not PRIVATE: the kernel's wake at exit is not either
  }
  takes_over(&state_);
  return true;
}

int SnapshotThread::launch() {
  constexpr std::uint64_t kAllSignals = ~std::uint64_t{0};
  std::uint64_t before = 0;
  sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &kAllSignals, &before, sizeof before);
  hands_over(&thread_);
  // As libc's own threads: valgrind knows no others.
  const long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                     CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
  long result = SYS_clone;
  register long stack asm("rsi") = reinterpret_cast<long>(stack_ + kStackBytes);
  register long parent_tid asm("rdx") = reinterpret_cast<long>(&thread_);
  register long child_tid asm("r10") = reinterpret_cast<long>(&thread_);
  register long thread_pointer asm("r8") = reinterpret_cast<long>(thread_block_);
  register long body asm("r9") = reinterpret_cast<long>(&SnapshotThread::run);
  asm volatile(
      "syscall\n\t"
      "testq %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xorl %%ebp, %%ebp\n\t"
      "callq *%%r9\n\t"
      "1:"
      : "+a"(result)
      : "D"(flags), "r"(stack), "r"(parent_tid), "r"(child_tid), "r"(thread_pointer), "r"(body)
      : "rcx", "r11", "memory");
  if (result > 0) last_.store(static_cast<std::uint32_t>(result), std::memory_order_relaxed);
  sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, sizeof before);
  if (result < 0) {
    state_.store(word(State::kNone), std::memory_order_release);
    count(g_counters.snapshots_failed);
    say_refused(static_cast<int>(-result));
    return static_cast<int>(-result);
  }
  return 0;
}

void SnapshotThread::run() {
  SnapshotThread& self = g_snapshot_thread;
  takes_over(&self.thread_);
  // A file table of our own from here on, without copying the host's: a program that closes and opens
  // descriptors cannot come by ours, and a child forked meanwhile does not inherit them. Kernels before 5.9
  // keep the shared one.
  // Of what remains, 2 is for what there is to say; the others would keep the far end of a pipe waiting.
  constexpr unsigned kUnshare = 2;  // CLOSE_RANGE_UNSHARE
  if (sys::call(SYS_close_range, 3, ~0u, kUnshare) == 0) sys::call(SYS_close_range, 0, 1, 0);
  for (bool claimed_before = false;;) {
    const int result = g_snapshotter.take(self.request_);
    const bool awaited = self.awaited_;
    if (awaited) {
      self.awaited_ = false;
      self.result_ = result;
      self.path_ = g_snapshotter.path();
      self.answered_.store(true, std::memory_order_release);
    }
    hands_over(&self.state_);
    // From here on another thread may claim: it waits until the kernel says that this one has left.
    std::uint32_t running = word(State::kRunning);
    const bool claimed = self.claiming_.load(std::memory_order_acquire) == turn_word();
    if ((claimed && claimed_before) || self.request_.reason == TriggerReason::kExit) {
      // What was asked for since the last look is answered by who has waited since then; or by nobody any
      // more.
      self.left_ns_.store(sys::clock_ns(CLOCK_MONOTONIC), std::memory_order_relaxed);
      self.state_.store(word(State::kNone), std::memory_order_release);
      break;
    }
    claimed_before = claimed;
    if (self.state_.compare_exchange_strong(running, word(State::kNone), std::memory_order_acq_rel)) break;
    self.state_.store(word(State::kRunning), std::memory_order_relaxed);
    self.request_ = SnapshotRequest{TriggerReason::kSignal, {}};
    if (awaited) {  // whoever has its answer need not wait for what comes now
      self.went_on_.store(true, std::memory_order_release);
      sys::call(SYS_futex, &self.thread_, FUTEX_WAKE, 1);
    }
  }
  for (;;) sys::call(SYS_exit, 0);
}

void SnapshotThread::post(const SnapshotRequest& request) {
  if (!stack_) return say_refused(ENOMEM);
  for (;;) {
    std::uint32_t seen = state_.load(std::memory_order_acquire);
    if (state_of(seen) == State::kRunningAndAsked) return;
    if (state_of(seen) == State::kRunning) {
      if (state_.compare_exchange_strong(seen, word(State::kRunningAndAsked), std::memory_order_acq_rel))
        return;
      continue;
    }
    // Whoever waited for the thread that has just left is next, and its snapshot answers this request as
    // well. (If it vanished while it waited, the next request finds nobody.)
    constexpr std::int64_t kNextNs = 20'000'000;
    if (claiming_.load(std::memory_order_acquire) == turn_word() &&
        sys::clock_ns(CLOCK_MONOTONIC) - left_ns_.load(std::memory_order_relaxed) < kNextNs) {
      return;
    }
    if (!claim()) continue;
    request_ = request;
    awaited_ = false;
    (void)launch();  // a failure is counted and said
    return;
  }
}

std::uint32_t SnapshotThread::turn_word() { return g_tracker.forks.generation() << 1 | 1; }

// One at a time, so that the answer is the caller's own. A caller that vanished (cancelled, jumped out, on
// the other side of a fork) does not keep its turn.
void SnapshotThread::take_turn() {
  const std::uint32_t nobody = turn_word() - 1;
  constexpr int kPatience = 100;  // sleeps without a snapshot at work
  for (int idle = 0;;) {
    std::uint32_t seen = turn_.load(std::memory_order_relaxed);
    const bool held = seen == (nobody | 1);
    if ((!held || idle >= kPatience) &&
        turn_.compare_exchange_strong(seen, nobody | 1, std::memory_order_acquire)) {
      return;
    }
    const timespec moment{0, 10'000'000};
    sys::futex_wait(&turn_, nobody | 1, &moment);
    idle = state_of(state_.load(std::memory_order_relaxed)) == State::kNone ? idle + 1 : 0;
  }
}

void SnapshotThread::pass_turn() {
  turn_.store(turn_word() - 1, std::memory_order_release);
  sys::futex_wake(&turn_, 1);
}

int SnapshotThread::take_and_wait(const SnapshotRequest& request, Path& path) {
  if (!stack_) return ENOMEM;
  take_turn();
  claiming_.store(turn_word(), std::memory_order_release);
  while (!claim()) {
    const std::uint32_t thread = thread_.load(std::memory_order_acquire);
    const timespec moment{0, 10'000'000};
    if (thread) sys::call(SYS_futex, &thread_, FUTEX_WAIT, thread, &moment);
  }
  claiming_.store(0, std::memory_order_relaxed);
  request_ = request;
  awaited_ = true;
  answered_.store(false, std::memory_order_relaxed);
  went_on_.store(false, std::memory_order_relaxed);
  int error = launch();
  if (error == 0) {
    // Until our thread has left, or another one has taken its place, or it goes on for others.
    const std::uint32_t first = thread_.load(std::memory_order_acquire);
    for (std::uint32_t thread; (thread = thread_.load(std::memory_order_acquire)) != 0;) {
      if (went_on_.load(std::memory_order_acquire)) break;
      if (thread != first && answered_.load(std::memory_order_acquire)) break;
      const timespec moment{0, 50'000'000};
      sys::call(SYS_futex, &thread_, FUTEX_WAIT, thread, &moment);
    }
    if (!went_on_.load(std::memory_order_acquire)) wait_until_off_the_list(first);
    takes_over(&state_);
    path = path_;
    error = result_;
  }
  pass_turn();
  return error;
}

void SnapshotThread::wait_until_gone() {
  constexpr std::int64_t kPatienceNs = 2'000'000'000;
  std::int64_t give_up = 0;
  for (;;) {
    const std::uint32_t running = thread_.load(std::memory_order_acquire);
    const std::uint32_t last = running ? running : last_.load(std::memory_order_relaxed);
    // A forked child's is its parent's, if it had none itself.
    if (last == 0 || !of_this_process(state_.load(std::memory_order_relaxed))) return;
    // The kernel clears the word a moment before it takes the thread off the process's list.
    if (sys::call(SYS_tgkill, sys::pid(), last, 0) != 0) return;
    const std::int64_t now = sys::clock_ns(CLOCK_MONOTONIC);
    if (give_up == 0) give_up = now + kPatienceNs;
    if (now >= give_up) return;
    const timespec moment{0, 10'000'000};
    if (running) {
      sys::call(SYS_futex, &thread_, FUTEX_WAIT, running, &moment);
    } else {
      sys::call(SYS_sched_yield);
    }
  }
}

}  // namespace memtrace
