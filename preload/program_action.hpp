// What the program believes is installed for the trigger signal, and what the kernel has in its place.
//
// Called by: the hooks of sigaction and signal (any thread, also in signal handlers), the trigger's handler
// (current()). current() never waits: two slots, and a count that tells a reader when its slot was filled
// again. Writers exclude each other, all signals blocked, bounded; a forked child finds the lock free,
// whoever held it. errno is the real function's.
#pragma once

#include <signal.h>

#include <atomic>
#include <cstdint>

namespace memtrace {

using SignalHandler = void (*)(int number, siginfo_t* info, void* context);

// The part that the handler needs, small enough for any stack.
struct ProgramHandler {
  std::uint32_t version = 0;
  bool in_libjvm = false;
  unsigned flags = 0;
  void* function = nullptr;  // nullptr: SIG_DFL or SIG_IGN

  void run(int number, siginfo_t* info, void* context) const;
};

class ProgramAction {
 public:
  // At start, on one thread. Puts `ours` in front of what is installed; leaves an ignored signal ignored.
  // False: the kernel refuses this signal.
  [[nodiscard]] bool start(int signal_number, SignalHandler ours);

  // sigaction's contract, on the program's view. -1 and errno on failure.
  int set(const struct sigaction* action, struct sigaction* old);

  [[nodiscard]] ProgramHandler current() const;

  // A handler installed for one time (SA_RESETHAND) is about to run: gives way to SIG_DFL. False: another
  // thread was first, or the program changed its mind; look at current() again.
  [[nodiscard]] bool use_up(const ProgramHandler& seen);

 private:
  struct Slot {
    std::atomic<void*> function{nullptr};
    std::atomic<unsigned> flags{0};
    std::atomic<bool> in_libjvm{false};
  };
  class Writer;

  [[nodiscard]] struct sigaction kernel_action(const struct sigaction& view) const;
  void publish(const struct sigaction& view, bool in_libjvm);

  int signal_ = 0;
  SignalHandler ours_ = nullptr;
  struct sigaction view_ {};  // writers only
  Slot slots_[2];
  std::atomic<std::uint32_t> version_{0};
  std::atomic<std::uint32_t> writer_{0};  // fork generation + 1 of who writes
};

}  // namespace memtrace
