#include "preload/triggers.hpp"

#include <dlfcn.h>
#include <errno.h>

#include <atomic>

#include "preload/snapshot_thread.hpp"
#include "preload/sys/diag.hpp"
#include "preload/sys/old_symbols.hpp"
#include "preload/sys/syscalls.hpp"
#include "preload/tracker.hpp"

#include "preload/no_heap.hpp"

namespace memtrace::triggers {
namespace {

constinit int g_signal = 0;  // 0: not ours
constinit bool g_at_exit = false;

// Which process the handler runs in: a vfork child shares our memory but not our pid.
constinit std::atomic<std::uint64_t> g_pid{0};
constinit std::atomic<std::uint32_t> g_pid_generation{0};

// What the program believes is installed. Two copies: the handler reads the current one while a writer fills
// the other.
struct View {
  struct sigaction action;
  bool in_libjvm;
};
constinit View g_views[2]{};
constinit std::atomic<unsigned> g_current{0};
constinit std::atomic<bool> g_writing{false};
constinit std::atomic<bool> g_warned{false};

const View& current_view() { return g_views[g_current.load(std::memory_order_acquire)]; }

bool is_handler(const struct sigaction& action) {
  return (action.sa_flags & SA_SIGINFO) ? action.sa_sigaction != nullptr
                                        : action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
}

bool lies_in_libjvm(const struct sigaction& action) {
  Dl_info info{};
  if (!is_handler(action) || dladdr(reinterpret_cast<void*>(action.sa_handler), &info) == 0 ||
      !info.dli_fname) {
    return false;
  }
  constexpr std::string_view kName = "/libjvm.so";
  const std::string_view path(info.dli_fname);
  return path.size() >= kName.size() &&
         std::string_view(path.data() + path.size() - kName.size(), kName.size()) == kName;
}

bool in_this_process() {
  const std::uint32_t generation = g_tracker.forks.generation();
  const std::uint64_t pid = sys::pid();
  if (g_pid_generation.load(std::memory_order_relaxed) != generation) {
    g_pid.store(pid, std::memory_order_relaxed);
    g_pid_generation.store(generation, std::memory_order_relaxed);
  }
  return pid == g_pid.load(std::memory_order_relaxed);
}

// Whether the program's view of this signal is kept here. Not in a vfork child, which resets its own signals
// before it executes another program: our memory is still its parent's.
bool is_ours(int number) {
  return number != 0 && number == g_signal && tracker::adopt_fork() && in_this_process();
}

void post_snapshot() {
  static constexpr SnapshotRequest kBySignal{TriggerReason::kSignal, {}};
  if (!g_snapshot_thread.post(kBySignal)) {
    Line line;
    line << "snapshot refused: its thread could not be started";
    diag::say(LogLevel::kError, line);
  }
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

void reset_view();

void run_program_handler(const View& view, int number, siginfo_t* info, void* context) {
  const struct sigaction action = view.action;
  if (static_cast<unsigned>(action.sa_flags) & static_cast<unsigned>(SA_RESETHAND)) reset_view();
  if (action.sa_flags & SA_SIGINFO) {
    action.sa_sigaction(number, info, context);
  } else {
    action.sa_handler(number);
  }
}

void on_signal(int number, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  const View& view = current_view();
  const bool programs = is_handler(view.action);
  const bool ready = tracker::active() && tracker::adopt_fork() && tracker::active() && in_this_process();
  // si_pid is 0 for a sender that this pid namespace cannot see: from outside all the same.
  const bool sent = info->si_code == SI_USER || info->si_code == SI_QUEUE;
  const bool outside =
      sent && static_cast<std::uint64_t>(info->si_pid) != g_pid.load(std::memory_order_relaxed);
  const bool snapshot = ready && (!programs || (outside && view.in_libjvm));
  if (snapshot) {
    post_snapshot();
  } else if (programs) {
    if (outside && ready) warn_once(static_cast<std::uint64_t>(info->si_pid));
    errno = saved_errno;
    run_program_handler(view, number, info, context);
    return;  // errno is the program's now
  }
  errno = saved_errno;
}

// What the kernel is to know for this view of the program.
struct sigaction kernel_action(const struct sigaction& view) {
  struct sigaction action = view;
  if (!is_handler(view)) {
    if (view.sa_handler == SIG_IGN) return action;
    action = {};
    action.sa_flags = SA_RESTART | SA_ONSTACK;
  }
  // A program's handler keeps its flags and mask: whether calls are restarted, which stack it runs on. Only
  // "once" is ours to do, because the kernel would remove our handler too.
  action.sa_flags = static_cast<int>(
      (static_cast<unsigned>(action.sa_flags) & ~static_cast<unsigned>(SA_RESETHAND)) | SA_SIGINFO);
  action.sa_sigaction = on_signal;
  return action;
}

class Writer {
 public:
  Writer() {
    constexpr std::uint64_t kAllSignals = ~std::uint64_t{0};
    sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &kAllSignals, &mask_, sizeof mask_);
    while (g_writing.exchange(true, std::memory_order_acquire)) sys::call(SYS_sched_yield);
  }
  ~Writer() {
    g_writing.store(false, std::memory_order_release);
    sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &mask_, nullptr, sizeof mask_);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

 private:
  std::uint64_t mask_ = 0;
};

void publish(const struct sigaction& action, bool in_libjvm) {
  const unsigned next = 1 - g_current.load(std::memory_order_relaxed);
  g_views[next] = {action, in_libjvm};
  g_current.store(next, std::memory_order_release);
}

// The kernel keeps the flags of the handler that is gone; calls are to be restarted from now on.
void reset_view() {
  const Writer writer;
  const struct sigaction ours = kernel_action({});
  (void)g_real.sigaction(g_signal, &ours, nullptr);
  publish({}, false);
}

}  // namespace

void start(const Options& options) {
  g_at_exit = options.at_exit;
  g_pid.store(sys::pid(), std::memory_order_relaxed);
  if (options.signal == 0) return;
  struct sigaction before {};
  if (g_real.sigaction(options.signal, nullptr, &before) != 0) return;
  publish(before, lies_in_libjvm(before));
  const struct sigaction ours = kernel_action(before);
  if (before.sa_handler != SIG_IGN && g_real.sigaction(options.signal, &ours, nullptr) != 0) return;
  g_signal = options.signal;
}

int set_action(int number, const struct sigaction* action, struct sigaction* old) {
  // A vfork child resets its own signals before it executes another program: our memory is still its
  // parent's.
  if (number != g_signal || number == 0 || !in_this_process()) return g_real.sigaction(number, action, old);
  const bool in_libjvm = action && lies_in_libjvm(*action);
  const Writer writer;
  const struct sigaction before = current_view().action;
  if (action) {
    const struct sigaction ours = kernel_action(*action);
    if (const int result = g_real.sigaction(number, &ours, nullptr); result != 0) return result;
    publish(*action, in_libjvm);
  }
  if (old) *old = before;
  return 0;
}

sighandler_t set_handler(int number, sighandler_t handler) {
  if (!is_ours(number)) return g_real.signal(number, handler);
  struct sigaction action {};
  struct sigaction old {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  return set_action(number, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

void at_exit() {
  if (!g_at_exit || !tracker::active() || !tracker::adopt_fork() || !tracker::active()) return;
  if (!in_this_process()) return;
  static constinit Path path;
  (void)g_snapshot_thread.take_and_wait({TriggerReason::kExit, {}}, path);
}

}  // namespace memtrace::triggers
