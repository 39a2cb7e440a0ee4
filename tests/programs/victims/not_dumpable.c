/* Gives up its privileges, if it has any, and what lies in /proc about it, as servers do; then takes a
 * snapshot. */
#include <grp.h>
#include <sys/prctl.h>

#include "tests/programs/victims/truth.h"

static NOINLINE void keep(void) {
  SITE;
  REQUIRE(malloc(4321) != NULL);
  BORN(4321);
}

int main(void) {
  if (geteuid() == 0) {
    REQUIRE(setgroups(0, NULL) == 0 && setresgid(65534, 65534, 65534) == 0);
    REQUIRE(setresuid(65534, 65534, 65534) == 0);
  }
  REQUIRE(prctl(PR_SET_DUMPABLE, 0) == 0);
  keep();
  report("end");
  REQUIRE(prctl(PR_GET_DUMPABLE) == 0);
  return 0;
}
