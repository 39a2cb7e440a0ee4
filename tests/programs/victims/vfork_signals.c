/* Children by vfork, which run in their parent's memory, allocate there and are sent the trigger signal: what
 * they allocate is their parent's, and no snapshot is theirs to take. usage: vfork_signals COUNT */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/programs/victims/truth.h"

static _Atomic pid_t child_pid;
static atomic_int signalled;

static void* send_signals(void* unused) {
  for (;;) {
    while (child_pid == 0) sched_yield();
    if (child_pid < 0) return unused;
    REQUIRE(kill(child_pid, SIGUSR2) == 0);
    child_pid = 0;
    signalled = 1;
  }
}

static NOINLINE void in_vforked_child(void) {
  SITE;
  free(malloc(500));
  REQUIRE(malloc(33) != NULL);
  BORN(33);
}

static NOINLINE void run_by_vfork(void) {
  signalled = 0;
  const pid_t child = vfork();
  if (child == 0) {
    in_vforked_child();
    child_pid = (pid_t)syscall(SYS_getpid);
    while (!signalled) sched_yield();
    in_vforked_child();
    _exit(0);
  }
  int status = 0;
  REQUIRE(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

int main(int argc, char** argv) {
  REQUIRE(argc == 2);
  alarm(60);
  pthread_t sender;
  REQUIRE(pthread_create(&sender, NULL, send_signals, NULL) == 0);
  for (int i = 0; i < atoi(argv[1]); ++i) run_by_vfork();
  child_pid = -1;
  REQUIRE(pthread_join(sender, NULL) == 0);
  report("end");
  return 0;
}
