/* Linked to the shim itself, so that it is there where nothing may be preloaded; takes a snapshot if it can.
 */
#include <sys/auxv.h>

#include "tests/programs/victims/truth.h"

int main(void) {
  say(getauxval(AT_SECURE) ? "secure 1\n" : "secure 0\n");
  const int error = memtrace_snapshot("linked", NULL, 0);
  return error == 0 || error == ENOSYS ? 0 : error;
}
