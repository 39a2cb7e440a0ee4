/* A program with or without a use of its own for SIGUSR2, commanded line by line; answers each command by a
 * line. usage: signal_program none|ignore|plain|signal|siginfo|once|masking|altstack
 *
 *   raise, kill     sends itself the signal         block, unblock   in this thread
 *   view            what sigaction shows            default, ignore  gives the signal up
 *   snapshot        by the API                      count            how often its handler ran
 *   wait            sigwait */
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "tests/programs/victims/truth.h"

static volatile sig_atomic_t handled;
static volatile sig_atomic_t as_expected = 1;
static volatile int own_signal = SIGUSR2;

static int blocked_now(int signal) {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  return sigismember(&mask, signal);
}

static void plain(int number) {
  if (number != own_signal) as_expected = 0;
  ++handled;
}
static void siginfo(int number, siginfo_t* info, void* context) {
  if (number != own_signal || !context || info->si_signo != number) as_expected = 0;
  if (info->si_pid == 0 || info->si_uid != getuid()) as_expected = 0;
  ++handled;
}
static void masking(int number) {
  (void)number;
  if (!blocked_now(SIGUSR1) || !blocked_now(own_signal) || blocked_now(SIGHUP)) as_expected = 0;
  ++handled;
}
static char stack[64 * 1024];
static void altstack(int number) {
  char here = (char)number;
  char* volatile at = &here;
  if (at < stack || at >= stack + sizeof stack) as_expected = 0;
  ++handled;
}

static void install(const char* kind) {
  struct sigaction action = {0};
  struct sigaction old;
  if (strcmp(kind, "none") == 0) return;
  if (strcmp(kind, "ignore") == 0) {
    REQUIRE(signal(own_signal, SIG_IGN) == SIG_DFL);
    return;
  }
  if (strcmp(kind, "signal") == 0) {
    REQUIRE(signal(own_signal, plain) == SIG_DFL);
    REQUIRE(signal(own_signal, plain) == plain);
    return;
  }
  action.sa_handler = plain;
  sigaddset(&action.sa_mask, SIGUSR1);
  action.sa_flags = SA_NOCLDSTOP;
  if (strcmp(kind, "siginfo") == 0) {
    action.sa_sigaction = siginfo;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
  } else if (strcmp(kind, "once") == 0) {
    action.sa_flags = (int)SA_RESETHAND;
  } else if (strcmp(kind, "masking") == 0) {
    action.sa_handler = masking;
  } else if (strcmp(kind, "altstack") == 0) {
    const stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
    REQUIRE(sigaltstack(&alternative, NULL) == 0);
    action.sa_handler = altstack;
    action.sa_flags = SA_ONSTACK;
  } else {
    REQUIRE(strcmp(kind, "plain") == 0);
  }
  REQUIRE(sigaction(own_signal, &action, &old) == 0);
  REQUIRE(old.sa_handler == SIG_DFL && (old.sa_flags & SA_SIGINFO) == 0);
  /* What it put there is what it sees. */
  REQUIRE(sigaction(own_signal, NULL, &old) == 0);
  REQUIRE(old.sa_sigaction == action.sa_sigaction);
  REQUIRE((old.sa_flags & ~0x04000000) == (action.sa_flags & ~0x04000000)); /* SA_RESTORER is the libc's */
  REQUIRE(sigismember(&old.sa_mask, SIGUSR1) && !sigismember(&old.sa_mask, SIGHUP));
}

static const char* view(void) {
  struct sigaction now;
  REQUIRE(sigaction(own_signal, NULL, &now) == 0);
  if (now.sa_handler == SIG_DFL) return "default\n";
  if (now.sa_handler == SIG_IGN) return "ignored\n";
  if (now.sa_handler == plain || now.sa_sigaction == siginfo || now.sa_handler == masking ||
      now.sa_handler == altstack) {
    return "own\n";
  }
  return "foreign\n";
}

static void set_blocked(int how) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, own_signal);
  REQUIRE(pthread_sigmask(how, &mask, NULL) == 0);
}

/* The next line; a read that a signal cuts short is an error unless a handler of its own explains it. */
static int next_line(char* line, size_t room) {
  size_t size = 0;
  for (;;) {
    const sig_atomic_t before = handled;
    const ssize_t got = read(0, line + size, 1);
    if (got < 0 && errno == EINTR && handled != before) continue;
    if (got < 0) {
      say("interrupted\n");
      _exit(98);
    }
    if (got == 0) return 0;
    if (line[size] == '\n') break;
    REQUIRE(++size < room);
  }
  line[size] = '\0';
  return 1;
}

int main(int argc, char** argv) {
  char line[64];
  REQUIRE(argc >= 2);
  if (argc > 2) own_signal = SIGRTMIN + atoi(argv[2]);
  install(argv[1]);
  say("ready\n");
  while (next_line(line, sizeof line)) {
    if (strcmp(line, "raise") == 0) {
      REQUIRE(raise(own_signal) == 0);
      say("raised\n");
    } else if (strcmp(line, "kill") == 0) {
      REQUIRE(kill(getpid(), own_signal) == 0);
      say("killed\n");
    } else if (strcmp(line, "view") == 0) {
      say(view());
    } else if (strcmp(line, "block") == 0) {
      set_blocked(SIG_BLOCK);
      say("blocked\n");
    } else if (strcmp(line, "unblock") == 0) {
      set_blocked(SIG_UNBLOCK);
      say("unblocked\n");
    } else if (strcmp(line, "wait") == 0) {
      sigset_t mask;
      int number = 0;
      sigemptyset(&mask);
      sigaddset(&mask, own_signal);
      REQUIRE(sigwait(&mask, &number) == 0 && number == own_signal);
      say("came\n");
    } else if (strcmp(line, "default") == 0) {
      REQUIRE(signal(own_signal, SIG_DFL) != SIG_ERR);
      say("given up\n");
    } else if (strcmp(line, "ignore") == 0) {
      REQUIRE(signal(own_signal, SIG_IGN) != SIG_ERR);
      say("given up\n");
    } else if (strcmp(line, "snapshot") == 0) {
      report("api");
    } else if (strcmp(line, "count") == 0) {
      char answer[32];
      snprintf(answer, sizeof answer, "%d%s\n", (int)handled, as_expected ? "" : " but not as expected");
      say(answer);
    } else {
      REQUIRE(strcmp(line, "quit") == 0);
      return 7;
    }
  }
  return 7;
}
