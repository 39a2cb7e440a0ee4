/* Asks the kernel for what it grants to processes with a single thread only, right after a snapshot or the
 * signal for one. Nothing comes after that: setns leads out of a chroot.
 * usage: unshares nothing|call|signal unshare|setns */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>

#include "tests/programs/victims/truth.h"

static void take_snapshot(const char* how) {
  if (strcmp(how, "signal") == 0) {
    REQUIRE(raise(SIGUSR2) == 0);
  } else {
    const int taken = memtrace_snapshot("before", NULL, 0);
    REQUIRE(taken == 0 || taken == ENOSYS);
  }
}

int main(int argc, char** argv) {
  REQUIRE(argc == 3);
  free(malloc(10));
  const int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
  REQUIRE(own >= 0);
  if (strcmp(argv[1], "nothing") != 0) take_snapshot(argv[1]);
  const int result = strcmp(argv[2], "setns") == 0 ? setns(own, 0) : unshare(CLONE_NEWUSER);
  char line[64];
  snprintf(line, sizeof line, "%d errno %d\n", result, result ? errno : 0);
  say(line);
  return 0;
}
