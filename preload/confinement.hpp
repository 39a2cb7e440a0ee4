// Whether this process has confined itself (seccomp): then a system call that its filter does not expect may
// be the end of it, and no snapshot is taken any more, nor asked the kernel whether one might.
//
// Called by: the prctl hook, triggers, api. libc's prctl is how a process gives up gaining privileges, which
// it has to before it may install a filter, by whatever call. A filter that was there when the program
// started let the loader open and map files: it counts for nothing here. Any thread; signal-safe; a forked
// child is as confined as its parent.
#pragma once

#include <sys/prctl.h>

#include <atomic>

namespace memtrace::confinement {

inline constinit std::atomic<bool> g_confined{false};

[[nodiscard]] inline bool begins_with(int option) {
  return option == PR_SET_NO_NEW_PRIVS || option == PR_SET_SECCOMP;
}
inline void begin() { g_confined.store(true, std::memory_order_relaxed); }
[[nodiscard]] inline bool is_on() { return g_confined.load(std::memory_order_relaxed); }

}  // namespace memtrace::confinement
