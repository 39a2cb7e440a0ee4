/* Asks the kernel for what it grants to processes with a single thread only, right after a snapshot; with an
 * argument, right after the signal for one.
 * usage: unshares [signal] */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>

#include "tests/programs/victims/truth.h"

static int by_signal;

static void take_snapshot(void) {
  if (by_signal) {
    REQUIRE(raise(SIGUSR2) == 0);
  } else {
    const int taken = memtrace_snapshot("before", NULL, 0);
    REQUIRE(taken == 0 || taken == ENOSYS);
  }
}

static void say_result(const char* call, int result) {
  const int error = result ? errno : 0;
  char line[64];
  snprintf(line, sizeof line, "%s %d errno %d\n", call, result, error);
  say(line);
}

int main(int argc, char** argv) {
  by_signal = argc > 1 && strcmp(argv[1], "signal") == 0;
  free(malloc(10));
  const int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
  REQUIRE(own >= 0);
  take_snapshot();
  say_result("setns", setns(own, 0));
  take_snapshot();
  say_result("unshare", unshare(CLONE_NEWUSER));
  return 0;
}
