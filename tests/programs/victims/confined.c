/* Confines itself as sshd's and libseccomp's programs do, to what it needs itself: anything else kills it. Is
 * asked for a snapshot then, by a signal and by itself, and ends by way of its exit handlers.
 *   confined prctl | seccomp */
#include <signal.h>

#include "tests/programs/victims/truth.h"
#include "tests/support/filter.h"

static void confine(const char* how) {
  struct sock_filter lines[] = {
      CALL_NUMBER,
      ALLOW(read),
      ALLOW(write),
      ALLOW(brk),
      ALLOW(mmap),
      ALLOW(munmap),
      ALLOW(madvise), /* recording's own, with futex */
      ALLOW(futex),
      ALLOW(rt_sigaction),
      ALLOW(rt_sigreturn),
      ALLOW(exit_group),
      OTHERWISE(SECCOMP_RET_KILL_PROCESS),
  };
  const struct sock_fprog filter = FILTER(lines);
  REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  if (strcmp(how, "prctl") == 0) {
    REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
  } else {
    REQUIRE(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0);
  }
}

int main(int argc, char** argv) {
  REQUIRE(argc == 2);
  free(malloc(100));
  REQUIRE(prctl(PR_SET_NAME, "renamed", 0, 0, 0) == 0);
  char name[16];
  REQUIRE(prctl(PR_GET_NAME, name) == 0 && strcmp(name, "renamed") == 0);
  REQUIRE(memtrace_snapshot("before", NULL, 0) == 0);
  confine(argv[1]);
  free(malloc(200000));
  say("confined\n");
  char byte;
  REQUIRE(read(0, &byte, 1) == 1); /* the signal has come before it */
  REQUIRE(memtrace_snapshot("after", NULL, 0) == EPERM);
  REQUIRE(signal(SIGUSR2, SIG_IGN) != SIG_ERR);
  say("alive\n");
  return 0;
}
