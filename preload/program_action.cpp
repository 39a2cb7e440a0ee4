#include "preload/program_action.hpp"

#include <dlfcn.h>

#include <string_view>

#include "preload/real.hpp"
#include "preload/sys/find_object.hpp"
#include "preload/sys/old_symbols.hpp"
#include "preload/sys/syscalls.hpp"
#include "preload/tracker.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

// SIG_DFL and SIG_IGN share a union with handlers of either kind, whatever the flags say.
bool is_handler(const struct sigaction& action) {
  return action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
}

bool names_libjvm(const char* path) {
  constexpr std::string_view kName = "/libjvm.so";
  const std::string_view text(path ? path : "");
  return text.size() >= kName.size() &&
         std::string_view(text.data() + text.size() - kName.size(), kName.size()) == kName;
}

bool lies_in_libjvm(const struct sigaction& action) {
  if (!is_handler(action)) return false;
  void* const code = reinterpret_cast<void*>(action.sa_handler);
  // sigaction may be called where the loader's lock is held by another thread that waits for this one: where
  // it can be, the question is answered without that lock.
  if (sys::can_find_objects()) {
    sys::LoadedObject found;
    return sys::find_object(reinterpret_cast<std::uintptr_t>(code), found) && names_libjvm(found.map->l_name);
  }
  Dl_info info{};
  return dladdr(code, &info) != 0 && names_libjvm(info.dli_fname);
}

}  // namespace

void ProgramHandler::run(int number, siginfo_t* info, void* context) const {
  if (flags & static_cast<unsigned>(SA_SIGINFO)) {
    reinterpret_cast<SignalHandler>(function)(number, info, context);
  } else {
    reinterpret_cast<sighandler_t>(function)(number);
  }
}

class ProgramAction::Writer {
 public:
  explicit Writer(std::atomic<std::uint32_t>& word) : word_(word) {
    constexpr std::uint64_t kAllSignals = ~std::uint64_t{0};
    constexpr int kPatience = 20'000;
    sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &kAllSignals, &mask_, sizeof mask_);
    // Held by another generation: by a thread that this process never had.
    const std::uint32_t mine = g_tracker.forks.generation() + 1;
    for (int i = 0; i < kPatience && !held_; ++i) {
      std::uint32_t seen = word_.load(std::memory_order_relaxed);
      held_ = seen != mine && word_.compare_exchange_strong(seen, mine, std::memory_order_acquire);
      if (!held_) sys::call(SYS_sched_yield);
    }
  }
  ~Writer() {
    if (held_) word_.store(0, std::memory_order_release);
    sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &mask_, nullptr, sizeof mask_);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  [[nodiscard]] bool held() const { return held_; }

 private:
  std::atomic<std::uint32_t>& word_;
  std::uint64_t mask_ = 0;
  bool held_ = false;
};

struct sigaction ProgramAction::kernel_action(const struct sigaction& view) const {
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
  action.sa_sigaction = ours_;
  return action;
}

void ProgramAction::publish(const struct sigaction& view, bool in_libjvm) {
  view_ = view;
  const std::uint32_t next = version_.load(std::memory_order_relaxed) + 1;
  Slot& slot = slots_[next % 2];
  // Release: a reader of this slot's last content that sees anything of the new one must also see that the
  // last one is over. (A fence would do; ThreadSanitizer knows none.)
  slot.function.store(is_handler(view) ? reinterpret_cast<void*>(view.sa_handler) : nullptr,
                      std::memory_order_release);
  slot.flags.store(static_cast<unsigned>(view.sa_flags), std::memory_order_release);
  slot.in_libjvm.store(in_libjvm, std::memory_order_release);
  version_.store(next, std::memory_order_release);
}

ProgramHandler ProgramAction::current() const {
  ProgramHandler seen;
  do {
    seen.version = version_.load(std::memory_order_acquire);
    const Slot& slot = slots_[seen.version % 2];
    seen.function = slot.function.load(std::memory_order_acquire);
    seen.flags = slot.flags.load(std::memory_order_acquire);
    seen.in_libjvm = slot.in_libjvm.load(std::memory_order_acquire);
  } while (version_.load(std::memory_order_relaxed) != seen.version);
  return seen;
}

bool ProgramAction::start(int signal_number, SignalHandler ours) {
  struct sigaction before {};
  signal_ = signal_number;
  ours_ = ours;
  sys::start_find_object();  // dlsym is not for signal handlers, where sigaction may be called later
  if (g_real.sigaction(signal_number, nullptr, &before) != 0) return false;
  publish(before, lies_in_libjvm(before));
  const struct sigaction in_front = kernel_action(before);
  return before.sa_handler == SIG_IGN || g_real.sigaction(signal_number, &in_front, nullptr) == 0;
}

int ProgramAction::set(const struct sigaction* action, struct sigaction* old) {
  struct sigaction wanted {};
  if (action) wanted = *action;
  const bool in_libjvm = action && lies_in_libjvm(wanted);
  const Writer writer(writer_);
  if (!writer.held()) return g_real.sigaction(signal_, action, old);
  const struct sigaction before = view_;
  if (action) {
    const struct sigaction in_front = kernel_action(wanted);
    if (const int result = g_real.sigaction(signal_, &in_front, nullptr); result != 0) return result;
    publish(wanted, in_libjvm);
  }
  if (old) *old = before;
  return 0;
}

bool ProgramAction::use_up(const ProgramHandler& seen) {
  const Writer writer(writer_);
  if (!writer.held() || version_.load(std::memory_order_relaxed) != seen.version) return false;
  // The program goes on seeing its flags and mask, as the kernel would show them; calls are restarted from
  // now on.
  struct sigaction left = view_;
  left.sa_handler = SIG_DFL;
  const struct sigaction in_front = kernel_action(left);
  (void)g_real.sigaction(signal_, &in_front, nullptr);
  publish(left, false);
  return true;
}

}  // namespace memtrace
