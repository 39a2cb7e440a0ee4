/* A million live blocks from a thousand call paths, and two snapshots of them.
 *
 *   million_live BLOCKS      prints each snapshot's path and milliseconds; between the two, a tenth of the
 * blocks is freed and as many new ones are made */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "preload/memtrace.h"
#include "tests/bench/call_paths.h"

static int snapshot(const char* label) {
  char file[4096];
  struct timespec begin;
  struct timespec end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  const int error = memtrace_snapshot(label, file, sizeof file);
  clock_gettime(CLOCK_MONOTONIC, &end);
  if (error) return error;
  printf("%s %.1f\n", file,
         (double)(end.tv_sec - begin.tv_sec) * 1e3 + (double)(end.tv_nsec - begin.tv_nsec) / 1e6);
  return 0;
}

int main(int argc, char** argv) {
  const size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000000;
  void** blocks = calloc(count, sizeof *blocks);
  if (!blocks) return 1;
  uint64_t random = 1;
  for (size_t i = 0; i < count; ++i) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    blocks[i] = path((unsigned)(random >> 50) & 1023, 10, 16 + (random >> 33) % 200);
  }
  if (snapshot("a")) return 1;
  for (size_t i = 0; i < count; i += 10) {
    free(blocks[i]);
    blocks[i] = path((unsigned)i & 1023, 10, 64);
  }
  return snapshot("b") ? 1 : 0;
}
