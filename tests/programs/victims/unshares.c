/* Asks the kernel for what it grants to processes with a single thread only, right after a snapshot. */
#include <sched.h>

#include "tests/programs/victims/truth.h"

int main(void) {
  free(malloc(10));
  const int taken = memtrace_snapshot("before", NULL, 0);
  REQUIRE(taken == 0 || taken == ENOSYS);
  char line[64];
  const int result = unshare(CLONE_NEWUSER);
  snprintf(line, sizeof line, "unshare %d errno %d\n", result, result ? errno : 0);
  say(line);
  return 0;
}
