// Decides when a snapshot is taken: the signal, exit, the API.
//
// The trigger signal is shared with programs that use it too: sigaction, the signal() family and the rest
// that changes actions are hooked for that one signal. The program sees its own action installed; our handler
// stays in front and tells the two uses apart by the value that `memtrace snap` queues, else by the sender.
// set_action and set_handler: any thread. The handler: async-signal-safe, little stack unless there is
// something to say, errno kept.
#pragma once

#include <signal.h>

#include <cstdint>

#include "preload/options.hpp"
#include "preload/real.hpp"

namespace memtrace::triggers {

// At start. Installs the handler unless the signal is ignored (then that is respected) or options name none.
void start(const Options& options);

// What the hooks do for any signal: for ours, the program's view is kept here; others go to the real
// function.
int set_action(int number, const struct sigaction* action, struct sigaction* old);
// `flags`: what this variant of signal() means in sigaction's terms; `real`: itself.
using RealSignal = sighandler_t (*)(int number, sighandler_t handler);
sighandler_t set_handler(int number, sighandler_t handler, int flags, RealSignal real);
// sigset, sigignore and siginterrupt, by the same rule.
sighandler_t set_handler_and_mask(int number, sighandler_t handler);
int ignore(int number);
int set_interrupting(int number, bool interrupting);

// The process confines itself: see confinement.hpp. Before the real call, which may be the last one that is
// free: waits for a snapshot at work as HeldOff does, for a filter may be for all threads; and stops
// recording, whose system calls may be the end as well, and of which no snapshot will tell.
void confine();

// For what the kernel grants to processes with a single thread only: waits until no snapshot is at work, two
// seconds at most, and while it lives the calling thread begins none. errno is kept.
class HeldOff {
 public:
  explicit HeldOff(bool wanted);  // false: does nothing
  ~HeldOff();
  HeldOff(const HeldOff&) = delete;
  HeldOff& operator=(const HeldOff&) = delete;

 private:
  std::uint64_t mask_ = 0;
  bool held_;
};

// Exit of the process: takes the snapshot that MEMTRACE_AT_EXIT asks for; else waits for one at work, as
// HeldOff does, lest it leave half a file behind. From then on the signal begins none.
void at_exit();

}  // namespace memtrace::triggers
