/* 200,000 blocks of 1,000 bytes, half by calloc and half by realloc, each freed at once. */
#include <stdlib.h>

#include "tests/programs/victims/truth.h"

int main(void) {
  for (int i = 0; i < 100000; ++i) {
    void* cleared = calloc(10, 100);
    REQUIRE(cleared != NULL);
    void* resized = realloc(malloc(1), 1000);
    REQUIRE(resized != NULL);
    free(cleared);
    free(resized);
  }
  return 0;
}
