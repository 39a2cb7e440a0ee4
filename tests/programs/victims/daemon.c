/* Leaves its terminal, its parent and its directory, as daemons do; then takes a snapshot by signal to
 * itself. */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "tests/programs/victims/truth.h"

static NOINLINE void serve(void) {
  SITE;
  REQUIRE(malloc(12345) != NULL);
  BORN(12345);
}

int main(void) {
  if (fork() > 0) _exit(0);
  REQUIRE(setsid() > 0);
  if (fork() > 0) _exit(0);
  REQUIRE(chdir("/") == 0);
  umask(0);
  serve();
  report("daemon");
  return 0;
}
