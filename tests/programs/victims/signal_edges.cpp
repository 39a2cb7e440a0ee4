// Uses of the trigger signal that are legal and rare.
//
//   signal_edges CASE      exits 0 when the program saw what it would have seen without the shim
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "preload/memtrace.h"
#include "tests/programs/victims/cases.hpp"

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"  // old programs call what libc wishes they did not

extern "C" sighandler_t __sysv_signal(int, sighandler_t);

namespace {

std::atomic<int> g_ran{0};
void count_plain(int) { ++g_ran; }
void count_info(int, siginfo_t*, void*) { ++g_ran; }

struct sigaction plain(sighandler_t handler, int flags = 0) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  return action;
}

// SA_SIGINFO means nothing for SIG_IGN.
int siginfo_ignore() {
  const struct sigaction ignore = plain(SIG_IGN, SA_SIGINFO);
  if (sigaction(SIGUSR2, &ignore, nullptr) != 0) return 1;
  kill(getpid(), SIGUSR2);
  return 0;
}

// One thread changes the action while another gets the signal: it runs a handler or nothing, never SIG_IGN
// itself.
int racing_actions() {
  signal(SIGUSR2, SIG_IGN);
  std::atomic<bool> stop{false};
  std::thread receiver([&] {
    while (!stop) pthread_kill(pthread_self(), SIGUSR2);
  });
  struct sigaction informed {};
  informed.sa_sigaction = count_info;
  informed.sa_flags = SA_SIGINFO;
  const struct sigaction ignore = plain(SIG_IGN);
  const struct sigaction simple = plain(count_plain);
  for (int i = 0; i < 60000; ++i) {
    const struct sigaction* const actions[] = {&informed, &ignore, &ignore, &simple, &ignore};
    for (const auto* action : actions) sigaction(SIGUSR2, action, nullptr);
  }
  stop = true;
  receiver.join();
  return 0;
}

// A child forked while another thread is inside sigaction.
int fork_in_action() {
  std::atomic<bool> stop{false};
  std::thread setter([&] {
    const struct sigaction simple = plain(count_plain);
    while (!stop) sigaction(SIGUSR2, &simple, nullptr);
  });
  int bad = 0;
  for (int i = 0; i < 300; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      signal(SIGUSR2, SIG_DFL);
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    bad += status != 0;
  }
  stop = true;
  setter.join();
  return bad != 0;
}

// A child whose first call into the shim is sigaction sees its own view, before and after.
int child_first_action() {
  const struct sigaction simple = plain(count_plain);
  sigaction(SIGUSR2, &simple, nullptr);
  const pid_t child = fork();
  if (child == 0) {
    struct sigaction old {};
    struct sigaction ignore = plain(SIG_IGN);
    if (sigaction(SIGUSR2, &ignore, &old) != 0 || old.sa_handler != count_plain) _exit(1);
    free(malloc(1 << 20));
    if (sigaction(SIGUSR2, nullptr, &old) != 0 || old.sa_handler != SIG_IGN) _exit(2);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status != 0;
}

// A vfork child that resets its signals leaves its parent's alone: the parent's own handler still runs.
int vfork_resets() {
  signal(SIGUSR2, count_plain);
  const pid_t child = vfork();
  if (child == 0) {
    signal(SIGUSR2, SIG_DFL);
    _exit(0);
  }
  waitpid(child, nullptr, 0);
  struct sigaction old {};
  sigaction(SIGUSR2, nullptr, &old);
  raise(SIGUSR2);
  return old.sa_handler != count_plain || g_ran != 1;
}

// System V's signal: the handler runs once, the old one comes back as it was given, chaining it is harmless.
int system_v() {
  if (__sysv_signal(SIGUSR2, count_plain) != SIG_DFL) return 1;
  raise(SIGUSR2);
  if (g_ran != 1) return 2;
  struct sigaction old {};
  sigaction(SIGUSR2, nullptr, &old);
  if (old.sa_handler != SIG_DFL) return 3;
  return __sysv_signal(SIGUSR2, count_plain) != SIG_DFL ? 4 : 0;
}

// System V's other calls: what is installed, held, ignored and given up comes back as it was given.
int sets_and_holds() {
  struct sigaction now {};
  if (sigset(SIGUSR2, count_plain) != SIG_DFL) return 1;
  raise(SIGUSR2);
  if (g_ran != 1 || sigset(SIGUSR2, SIG_HOLD) != count_plain) return 2;
  raise(SIGUSR2);
  if (g_ran != 1 || sigset(SIGUSR2, count_plain) != SIG_HOLD || g_ran != 2) return 3;
  if (sighold(SIGUSR2) != 0 || raise(SIGUSR2) != 0 || g_ran != 2) return 4;
  if (sigrelse(SIGUSR2) != 0 || g_ran != 3) return 5;
  if (sigignore(SIGUSR2) != 0 || raise(SIGUSR2) != 0 || g_ran != 3) return 6;
  if (sigaction(SIGUSR2, nullptr, &now) != 0 || now.sa_handler != SIG_IGN) return 7;
  return sigset(SIGUSR2, SIG_DFL) != SIG_IGN ? 8 : 0;
}

// siginterrupt: a read that the program's handler interrupts fails, or goes on.
int interrupting() {
  alarm(20);
  int pair[2];
  if (pipe(pair) != 0 || signal(SIGUSR2, count_plain) != SIG_DFL) return 1;
  for (const int fails : {1, 0}) {
    if (siginterrupt(SIGUSR2, fails) != 0) return 2;
    if (signal(SIGUSR2, count_plain) != count_plain) return 4;  // keeps to it
    const int before = g_ran;
    const pthread_t reader = pthread_self();
    std::atomic<bool> done{false};
    std::thread sender([&] {
      // Until the read is over, because one signal may come before it has begun.
      while (!done && (fails || g_ran < before + 100)) {
        pthread_kill(reader, SIGUSR2);
        sched_yield();
      }
      if (!fails && write(pair[1], "x", 1) != 1) abort();
    });
    char c = 0;
    errno = 0;
    const bool failed = read(pair[0], &c, 1) == -1 && errno == EINTR;
    done = true;
    sender.join();
    if (failed != (fails != 0)) return 3;
  }
  return 0;
}

// A handler for one time, and eight threads that get the signal at once.
int one_time() {
  for (int round = 0; round < 200; ++round) {
    g_ran = 0;
    struct sigaction once = plain(count_plain, static_cast<int>(SA_RESETHAND));
    sigaction(SIGUSR2, &once, nullptr);
    std::atomic<bool> go{false};
    std::thread threads[4];
    for (auto& thread : threads) {
      thread = std::thread([&] {
        while (!go) {
        }
        pthread_kill(pthread_self(), SIGUSR2);
      });
    }
    go = true;
    for (auto& thread : threads) thread.join();
    if (g_ran != 1) return 1;
  }
  return 0;
}

// A daemon closes every descriptor and opens its own while snapshots are written: none of the descriptors is
// touched, and none of the snapshots is lost.
int close_all() {
  std::atomic<bool> done{false};
  std::atomic<int> failed{0};
  std::thread asker([&] {
    for (int i = 0; i < 20; ++i) failed += memtrace_snapshot(nullptr, nullptr, 0) != 0;
    done = true;
  });
  int bad = 0;
  while (!done && !bad) {
    for (int fd = 3; fd < 64; ++fd) close(fd);
    int pair[2];
    if (pipe(pair) != 0) return 1;
    if (write(pair[1], "x", 1) != 1) bad = 2;
    char c = 0;
    if (read(pair[0], &c, 1) != 1 || c != 'x') bad = 3;
    if (close(pair[0]) != 0 || close(pair[1]) != 0) bad = 4;
  }
  asker.join();
  return bad ? bad : failed != 0 ? 5 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  return run_case(argc, argv,
                  {{"siginfo_ignore", siginfo_ignore},
                   {"racing_actions", racing_actions},
                   {"fork_in_action", fork_in_action},
                   {"child_first_action", child_first_action},
                   {"vfork_resets", vfork_resets},
                   {"system_v", system_v},
                   {"sets_and_holds", sets_and_holds},
                   {"interrupting", interrupting},
                   {"one_time", one_time},
                   {"close_all", close_all}});
}
