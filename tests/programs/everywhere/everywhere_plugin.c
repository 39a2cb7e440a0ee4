/* What everywhere.c opens: seven blocks of 300 bytes. */
#include <stdlib.h>

static void* volatile kept;

void in_plugin(void) {
  for (int i = 0; i < 7; ++i) kept = malloc(300);
}
