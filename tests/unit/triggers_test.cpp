// Would break: the trigger signal kills a program, is stolen from it, or its handler is not the one it
// believes to have.
#include "preload/triggers.hpp"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>

#include "tests/support/captured_stderr.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/stages.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;
using test::expect;

namespace {

std::atomic<int> g_handled{0};
void count_signal(int) { ++g_handled; }
std::atomic<int> g_sender{0};
void note_sender(int, siginfo_t* info, void*) { g_sender = info->si_pid; }

// A child with stages and triggers, but no thread to take snapshots: a request is told as refused.
template <class F>
bool armed(F body, Options options = test::exact_options("/tmp")) {
  return test::in_child([&] {
           test::start_stages(options);
           triggers::start(options);
           body();
         })
      .fine();
}

struct sigaction current(int number = SIGUSR2) {
  struct sigaction now {};
  expect(memtrace_hook_sigaction(number, nullptr, &now) == 0);
  return now;
}

// What the kernel would call.
struct sigaction real_current(int number = SIGUSR2) {
  struct sigaction now {};
  expect(g_real.sigaction(number, nullptr, &now) == 0);
  return now;
}

}  // namespace

TEST_CASE("a program that has no handler survives the signal, and sees none") {
  CHECK(armed([] {
    expect(current().sa_handler == SIG_DFL);
    test::CapturedStderr captured;
    errno = E2BIG;
    raise(SIGUSR2);
    expect(errno == E2BIG);
    expect(captured.text() ==
           "memtrace: snapshot refused: its thread could not be started: Cannot "
           "allocate memory\n");
    expect((real_current().sa_flags & (SA_ONSTACK | SA_RESTART)) == (SA_ONSTACK | SA_RESTART));
  }));
}

TEST_CASE("a program's own handler runs, is what it reads back, and gives way to the default again") {
  CHECK(armed([] {
    const test::CapturedStderr quiet;
    expect(memtrace_hook_signal(SIGUSR2, count_signal) == SIG_DFL);
    expect(current().sa_handler == count_signal);
    raise(SIGUSR2);
    expect(g_handled == 1);
    struct sigaction action {};
    action.sa_sigaction = note_sender;
    action.sa_flags = SA_SIGINFO;
    struct sigaction old {};
    expect(memtrace_hook_sigaction(SIGUSR2, &action, &old) == 0);
    expect(old.sa_handler == count_signal);
    raise(SIGUSR2);
    expect(g_handled == 1);
    expect(g_sender == getpid());
    expect(current().sa_sigaction == note_sender);
    expect(memtrace_hook_signal(SIGUSR2, SIG_DFL) != SIG_ERR);
    raise(SIGUSR2);  // ours again: the default would kill
    expect(g_handled == 1);
  }));
}

TEST_CASE("ignored stays ignored, at start and later") {
  CHECK(test::in_child([] {
          std::signal(SIGUSR2, SIG_IGN);
          test::start_stages(test::exact_options("/tmp"));
          triggers::start(test::exact_options("/tmp"));
          test::CapturedStderr captured;
          raise(SIGUSR2);
          expect(captured.text().empty());
          expect(real_current().sa_handler == SIG_IGN);
          expect(current().sa_handler == SIG_IGN);
        }).fine());
  CHECK(armed([] {
    test::CapturedStderr captured;
    expect(memtrace_hook_signal(SIGUSR2, SIG_IGN) == SIG_DFL);
    raise(SIGUSR2);
    expect(captured.text().empty());
    expect(current().sa_handler == SIG_IGN);
  }));
}

TEST_CASE("a handler that wants to run once runs once") {
  CHECK(armed([] {
    const test::CapturedStderr quiet;
    struct sigaction action {};
    action.sa_handler = count_signal;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    expect(memtrace_hook_sigaction(SIGUSR2, &action, nullptr) == 0);
    raise(SIGUSR2);
    raise(SIGUSR2);
    expect(g_handled == 1);
    expect(current().sa_handler == SIG_DFL);
  }));
}

TEST_CASE("System V's calls go through the program's view") {
  CHECK(armed([] {
    const test::CapturedStderr quiet;
    expect(memtrace_hook_sigset(SIGUSR2, count_signal) == SIG_DFL);
    expect(current().sa_handler == count_signal);
    expect(real_current().sa_handler != count_signal);  // ours is still in front
    raise(SIGUSR2);
    expect(g_handled == 1);
    expect(memtrace_hook_sigset(SIGUSR2, SIG_HOLD) == count_signal);
    raise(SIGUSR2);
    expect(g_handled == 1);  // blocked
    expect(memtrace_hook_sigset(SIGUSR2, SIG_HOLD) == SIG_HOLD);
    expect(memtrace_hook_sigset(SIGUSR2, count_signal) == SIG_HOLD);
    expect(g_handled == 2);  // let through
    errno = 0;
    expect(memtrace_hook_signal(SIGUSR2, SIG_ERR) == SIG_ERR);
    expect(errno == EINVAL);
    expect(current().sa_handler == count_signal);

    expect(memtrace_hook_sigignore(SIGUSR2) == 0);
    expect(current().sa_handler == SIG_IGN);
    expect(memtrace_hook_sigset(SIGUSR2, SIG_DFL) == SIG_IGN);  // nobody replaced it behind our back
    raise(SIGUSR2);                                             // ours again: the default would kill
    expect(g_handled == 2);

    expect(memtrace_hook_sigset(SIGUSR1, count_signal) == SIG_DFL);
    expect(real_current(SIGUSR1).sa_handler == count_signal);
    expect(memtrace_hook_sigignore(SIGUSR1) == 0);
    expect(real_current(SIGUSR1).sa_handler == SIG_IGN);
  }));
}

TEST_CASE("siginterrupt: for the program's handlers, now and later, and never for our own") {
  CHECK(armed([] {
    expect(memtrace_hook_signal(SIGUSR2, count_signal) == SIG_DFL);
    expect(real_current().sa_flags & SA_RESTART);
    expect(memtrace_hook_siginterrupt(SIGUSR2, 1) == 0);
    expect(!(real_current().sa_flags & SA_RESTART) && !(current().sa_flags & SA_RESTART));
    expect(current().sa_handler == count_signal);
    expect(real_current().sa_handler != count_signal);
    expect(memtrace_hook_signal(SIGUSR2, count_signal) == count_signal);
    expect(!(real_current().sa_flags & SA_RESTART));
    expect(memtrace_hook_signal(SIGUSR2, SIG_DFL) == count_signal);
    expect(real_current().sa_flags & SA_RESTART);  // a snapshot interrupts nothing
    expect(memtrace_hook_siginterrupt(SIGUSR2, 1) == 0);
    expect(real_current().sa_flags & SA_RESTART);
    expect(memtrace_hook_siginterrupt(SIGUSR2, 0) == 0);
    expect(memtrace_hook_signal(SIGUSR2, count_signal) == SIG_DFL);
    expect(real_current().sa_flags & SA_RESTART);

    expect(memtrace_hook_signal(SIGUSR1, count_signal) == SIG_DFL);
    expect(memtrace_hook_siginterrupt(SIGUSR1, 1) == 0);
    expect(!(real_current(SIGUSR1).sa_flags & SA_RESTART));
    expect(memtrace_hook_siginterrupt(12345, 1) == -1);
  }));
}

TEST_CASE("other signals are the program's alone; with none, so is SIGUSR2") {
  CHECK(armed([] {
    expect(memtrace_hook_signal(SIGUSR1, count_signal) == SIG_DFL);
    expect(real_current(SIGUSR1).sa_handler == count_signal);
    expect(memtrace_hook_sigaction(SIGKILL, nullptr, nullptr) == 0);
    struct sigaction action {};
    errno = 0;
    expect(memtrace_hook_sigaction(12345, &action, nullptr) == -1);
    expect(errno == EINVAL);
  }));
  Options none = test::exact_options("/tmp");
  none.signal = 0;
  CHECK(armed([] { expect(real_current().sa_handler == SIG_DFL); }, none));
}

TEST_CASE("a program with a handler of its own is told once how to get snapshots") {
  CHECK(armed([] {
    test::CapturedStderr captured;
    memtrace_hook_signal(SIGUSR2, count_signal);
    const std::string ask = "kill -USR2 " + std::to_string(getpid());
    for (int i = 0; i < 2; ++i) {
      expect(test::in_child([&] {
               execl("/bin/sh", "sh", "-c", ask.c_str(), nullptr);
               _exit(127);
             }).fine());
    }
    expect(g_handled == 2);
    const std::string text = captured.text();
    expect(text.find("went to the program's own handler") != std::string::npos);
    expect(text.find('\n') + 1 == text.size());
  }));
}

TEST_CASE("processes of one program that use the signal among themselves are told nothing") {
  CHECK(armed([] {
    test::CapturedStderr captured;
    memtrace_hook_signal(SIGUSR2, count_signal);
    const pid_t program = getpid();
    int until_handled[2];
    expect(pipe(until_handled) == 0);
    const pid_t child = fork();
    if (child == 0) {
      close(until_handled[1]);
      char byte;
      _exit(kill(program, SIGUSR2) == 0 && read(until_handled[0], &byte, 1) == 0 ? 0 : 1);
    }
    while (g_handled == 0) sched_yield();
    close(until_handled[1]);
    int status = -1;
    expect(waitpid(child, &status, 0) == child && status == 0);
    expect(captured.text().empty());
  }));
}

TEST_CASE("a forked child's first word about the signal is kept like its parent's") {
  CHECK(armed([] {
    expect(test::in_child([] {
             const test::CapturedStderr quiet;
             struct sigaction action {};
             action.sa_handler = count_signal;
             struct sigaction old {};
             expect(memtrace_hook_sigaction(SIGUSR2, &action, &old) == 0);
             expect(old.sa_handler == SIG_DFL);  // never our own
             raise(SIGUSR2);
             expect(g_handled == 1);
             action.sa_handler = SIG_DFL;
             expect(memtrace_hook_sigaction(SIGUSR2, &action, nullptr) == 0);
             raise(SIGUSR2);  // does not kill the child either
           }).fine());
    expect(current().sa_handler == SIG_DFL);
  }));
}

TEST_CASE("a child forked while another thread changes the action can change it too") {
  CHECK(armed([] {
    std::atomic<bool> done{false};
    std::atomic<int> failed{0};
    test::run_threads(2, [&](unsigned thread) {
      if (thread == 0) {
        while (!done) memtrace_hook_signal(SIGUSR2, count_signal);
        return;
      }
      for (int i = 0; i < 200; ++i) {
        const pid_t child = fork();
        if (child == 0) {
          alarm(10);
          const bool fine = memtrace_hook_signal(SIGUSR2, SIG_DFL) != SIG_ERR;
          _exit(fine ? 0 : 1);
        }
        int status = -1;
        waitpid(child, &status, 0);
        failed += status != 0;
        if (status != 0) break;
      }
      done = true;
    });
    expect(failed == 0);
  }));
}
