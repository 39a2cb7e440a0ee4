/* Confines itself as sshd's and libseccomp's programs do, to what it needs itself: anything else kills it. Is
 * asked for a snapshot then, by a signal and by itself, and ends by way of its exit handlers.
 *   confined prctl | seccomp | all_threads
 * The last one's filter is for a snapshot's thread, too, were there one: it has just been asked for. */
#include <signal.h>
#include <ucontext.h>

#include "tests/programs/victims/truth.h"
#include "tests/support/filter.h"

static void confine(const char* how) {
  struct sock_filter lines[] = {
      CALL_NUMBER,         ALLOW(read),           ALLOW(write),
      ALLOW(brk),          ALLOW(mmap),           ALLOW(munmap),
      ALLOW(rt_sigaction), ALLOW(rt_sigprocmask), /* swapcontext's */
      ALLOW(rt_sigreturn), ALLOW(exit_group),     OTHERWISE(SECCOMP_RET_KILL_PROCESS),
  };
  const struct sock_fprog filter = FILTER(lines);
  REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  if (strcmp(how, "prctl") == 0) {
    REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
  } else {
    const int flags = strcmp(how, "all_threads") == 0 ? SECCOMP_FILTER_FLAG_TSYNC : 0;
    REQUIRE(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter) == 0);
  }
}

/* On a stack that was never seen before, whose pages recording would ask the kernel for. */
static ucontext_t main_context;
static ucontext_t coroutine;

static void allocate_for(int depth) {
  char page[4096];
  memset(page, depth, sizeof page);
  __asm__ volatile("" : : "r"(page) : "memory");
  if (depth > 0) allocate_for(depth - 1);
  for (int i = 0; i < 100; ++i) free(malloc((size_t)(100 + i)));
}

static void allocate_in_coroutine(void) {
  static char stack[64 * 1024];
  REQUIRE(getcontext(&coroutine) == 0);
  coroutine.uc_stack.ss_sp = stack;
  coroutine.uc_stack.ss_size = sizeof stack;
  coroutine.uc_link = &main_context;
  makecontext(&coroutine, (void (*)(void))allocate_for, 1, 8);
  REQUIRE(swapcontext(&main_context, &coroutine) == 0);
}

int main(int argc, char** argv) {
  REQUIRE(argc == 2);
  free(malloc(100));
  REQUIRE(prctl(PR_SET_NAME, "renamed", 0, 0, 0) == 0);
  char name[16];
  REQUIRE(prctl(PR_GET_NAME, name) == 0 && strcmp(name, "renamed") == 0);
  REQUIRE(memtrace_snapshot("before", NULL, 0) == 0);
  if (strcmp(argv[1], "all_threads") == 0) raise(SIGUSR2);
  confine(argv[1]);
  free(malloc(200000));
  allocate_in_coroutine();
  say("confined\n");
  char byte;
  REQUIRE(read(0, &byte, 1) == 1); /* the signal has come before it */
  REQUIRE(memtrace_snapshot("after", NULL, 0) == EPERM);
  REQUIRE(signal(SIGUSR2, SIG_IGN) != SIG_ERR);
  say("alive\n");
  return 0;
}
