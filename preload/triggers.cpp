#include "preload/triggers.hpp"

#include <errno.h>

#include <atomic>
#include <cstdint>

#include "format/types.hpp"
#include "preload/confinement.hpp"
#include "preload/program_action.hpp"
#include "preload/snapshot_thread.hpp"
#include "preload/sys/diag.hpp"
#include "preload/sys/syscalls.hpp"
#include "preload/tracker.hpp"

#include "preload/no_heap.hpp"

namespace memtrace::triggers {
namespace {

constinit int g_signal = 0;  // 0: not ours
constinit bool g_at_exit = false;
constinit ProgramAction g_program;
constinit std::atomic<bool> g_warned{false};
constinit std::atomic<bool> g_ended{false};
constinit std::atomic<bool> g_interrupting{false};  // siginterrupt(): for what signal() installs later, too

// Which process this is: a vfork child shares our memory but not our pid.
constinit std::atomic<std::uint64_t> g_pid{0};
constinit std::atomic<std::uint32_t> g_pid_generation{0};

// Not to be had by a vfork child of a forked child, which may be the first to ask: libc's thread id is still
// its parent's there. So it is in a child made by a bare clone(), whose parent is the process we know,
// though.
bool in_this_process() {
  if (confinement::is_on()) return true;  // not to be found out
  const std::uint32_t generation = g_tracker.forks.generation();
  const std::uint64_t pid = sys::pid();
  if (g_pid_generation.load(std::memory_order_relaxed) != generation &&
      (sys::tid() == g_tracker.thread_id.current() ||
       static_cast<std::uint64_t>(sys::call(SYS_getppid)) == g_pid.load(std::memory_order_relaxed))) {
    g_pid.store(pid, std::memory_order_relaxed);
    g_pid_generation.store(generation, std::memory_order_relaxed);
  }
  return pid == g_pid.load(std::memory_order_relaxed);
}

// Whether the program's view of this signal is kept here. Not in a vfork child, which resets its own signals
// before it executes another program: our memory is still its parent's. Nor where system calls may be the
// end: there the signal does nothing for us any more, and what the program wants goes to the kernel.
bool is_ours(int number) {
  return number != 0 && number == g_signal && !confinement::is_on() && tracker::adopt_fork() &&
         in_this_process();
}

void post_snapshot() {
  static constexpr SnapshotRequest kBySignal{TriggerReason::kSignal, {}};
  g_snapshot_thread.post(kBySignal);
}

// Processes of one program may use the signal among themselves, as rsync's do: nobody asked for a snapshot.
[[gnu::cold, gnu::noinline]] bool is_same_executable(std::uint64_t pid) {
  FixedText<40> path;
  path << "/proc/" << pid << "/exe";
  return sys::same_file("/proc/self/exe", path.c_str());
}

[[gnu::cold, gnu::noinline]] void warn_once(std::uint64_t sender) {
  if (g_warned.exchange(true, std::memory_order_relaxed)) return;
  Line line;
  line << "signal " << static_cast<std::uint64_t>(g_signal) << " from pid " << sender
       << " went to the program's own handler; for snapshots start it with MEMTRACE_SIGNAL=SIGRTMIN+1, or "
          "call "
          "memtrace_snapshot()";
  diag::say(LogLevel::kWarn, line);
}

void on_signal(int number, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  const bool ready = !confinement::is_on() && !g_ended.load(std::memory_order_relaxed) && tracker::ready() &&
                     in_this_process();
  // si_pid is 0 for a sender that this pid namespace cannot see: from outside all the same.
  const bool sent = info->si_code == SI_USER || info->si_code == SI_QUEUE;
  const bool outside =
      sent && static_cast<std::uint64_t>(info->si_pid) != g_pid.load(std::memory_order_relaxed);
  if (info->si_code == SI_QUEUE &&
      reinterpret_cast<std::uint64_t>(info->si_value.sival_ptr) == kSnapshotIsMeant) {
    if (ready) post_snapshot();
    errno = saved_errno;
    return;
  }
  for (;;) {
    const ProgramHandler programs = g_program.current();
    if (!programs.function || (outside && programs.in_libjvm)) {
      if (ready) post_snapshot();
      break;
    }
    const bool once = programs.flags & static_cast<unsigned>(SA_RESETHAND);
    if (once && in_this_process() && !g_program.use_up(programs) &&
        g_program.current().version != programs.version) {
      continue;
    }
    const auto sender = static_cast<std::uint64_t>(info->si_pid);
    if (outside && ready && !g_warned.load(std::memory_order_relaxed) && !is_same_executable(sender)) {
      warn_once(sender);
    }
    errno = saved_errno;
    programs.run(number, info, context);
    return;  // errno is the program's now
  }
  errno = saved_errno;
}

}  // namespace

void start(const Options& options) {
  g_at_exit = options.at_exit;
  g_pid.store(sys::pid(), std::memory_order_relaxed);
  if (options.signal != 0 && g_program.start(options.signal, on_signal)) g_signal = options.signal;
}

int set_action(int number, const struct sigaction* action, struct sigaction* old) {
  return is_ours(number) ? g_program.set(action, old) : g_real.sigaction(number, action, old);
}

sighandler_t set_handler(int number, sighandler_t handler, int flags, RealSignal real) {
  if (!is_ours(number)) return real(number, handler);
  if (handler == SIG_ERR) {
    errno = EINVAL;
    return SIG_ERR;
  }
  struct sigaction action {};
  struct sigaction old {};
  action.sa_handler = handler;
  action.sa_flags = flags == SA_RESTART && g_interrupting.load(std::memory_order_relaxed) ? 0 : flags;
  if (!(static_cast<unsigned>(flags) & static_cast<unsigned>(SA_NODEFER))) sigaddset(&action.sa_mask, number);
  return g_program.set(&action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

sighandler_t set_handler_and_mask(int number, sighandler_t handler) {
  if (!is_ours(number)) return g_real.sigset(number, handler);
  struct sigaction action {};
  struct sigaction old {};
  action.sa_handler = handler;
  const bool hold = handler == SIG_HOLD;
  if (g_program.set(hold ? nullptr : &action, &old) != 0) return SIG_ERR;
  const std::uint64_t bit = std::uint64_t{1} << (number - 1);
  std::uint64_t before = 0;
  sys::call(SYS_rt_sigprocmask, hold ? SIG_BLOCK : SIG_UNBLOCK, &bit, &before, sizeof before);
  return (before & bit) ? SIG_HOLD : old.sa_handler;
}

int ignore(int number) {
  if (!is_ours(number)) return g_real.sigignore(number);
  struct sigaction action {};
  action.sa_handler = SIG_IGN;
  return g_program.set(&action, nullptr);
}

int set_interrupting(int number, bool interrupting) {
  if (!is_ours(number)) return g_real.siginterrupt(number, interrupting);
  struct sigaction action {};
  if (g_program.set(nullptr, &action) != 0) return -1;
  g_interrupting.store(interrupting, std::memory_order_relaxed);
  const auto flags = static_cast<unsigned>(action.sa_flags);
  constexpr auto kRestart = static_cast<unsigned>(SA_RESTART);
  action.sa_flags = static_cast<int>(interrupting ? flags & ~kRestart : flags | kRestart);
  return g_program.set(&action, nullptr);
}

void confine() {
  if (confinement::is_on()) return;
  const bool ready = tracker::ready();
  if (ready && !in_this_process()) return;  // a vfork child: our memory is its parent's, who goes on
  confinement::begin();
  if (!ready) return;
  g_snapshot_thread.wait_until_gone();
  tracker::disarm();
}

HeldOff::HeldOff(bool wanted) : held_(wanted && g_signal != 0 && !confinement::is_on() && tracker::ready()) {
  if (!held_) return;
  const std::uint64_t bit = std::uint64_t{1} << (g_signal - 1);
  sys::call(SYS_rt_sigprocmask, SIG_BLOCK, &bit, &mask_, sizeof mask_);
  g_snapshot_thread.wait_until_gone();
}

HeldOff::~HeldOff() {
  if (held_) sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &mask_, nullptr, sizeof mask_);
}

void at_exit() {
  if (confinement::is_on() || !tracker::ready()) return;
  if (!g_at_exit && !g_snapshot_thread.ever_was()) return;  // without a system call
  if (!in_this_process()) return;
  g_ended.store(true, std::memory_order_relaxed);
  if (!g_at_exit) return g_snapshot_thread.wait_until_gone();
  static constinit Path path;
  (void)g_snapshot_thread.take_and_wait({TriggerReason::kExit, {}}, path);
}

}  // namespace memtrace::triggers
