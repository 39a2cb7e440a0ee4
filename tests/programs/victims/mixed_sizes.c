/* One call site, sizes from 16 B to 8 MiB, many small ones; the truth and a snapshot. */
#include "tests/programs/victims/truth.h"

static NOINLINE void mixed(size_t size) {
  SITE;
  REQUIRE(malloc(size) != NULL);
  BORN(size);
}

int main(void) {
  for (int round = 0; round < 3; ++round) {
    long many = 8192;
    for (size_t size = 16; size <= (size_t)8 << 20; size *= 2, many = many / 2 + (many == 1)) {
      for (long i = 0; i < many; ++i) mixed(size + (size_t)(i % 16));
    }
  }
  report(NULL);
  return 0;
}
