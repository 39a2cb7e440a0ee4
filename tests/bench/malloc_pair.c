/* What one malloc and its free cost, from a stack of known depth.
 *
 *   malloc_pair DEPTH THREADS ROUNDS      prints nanoseconds per pair, all threads together running
 *
 * A round is 64 allocations of 16 to 527 bytes, then their 64 frees. Preload the shim to measure it. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { kBatch = 64 };
static long g_rounds;
static int g_depth;

__attribute__((noinline)) static void work(void) {
  void* blocks[kBatch];
  for (long round = 0; round < g_rounds; ++round) {
    for (int i = 0; i < kBatch; ++i) blocks[i] = malloc(16 + (size_t)(round * 31 + i * 8) % 512);
    for (int i = 0; i < kBatch; ++i) free(blocks[i]);
  }
}

__attribute__((noinline)) static void descend(int levels) {
  if (levels > 0) {
    descend(levels - 1);
  } else {
    work();
  }
  __asm__ volatile(""); /* no tail call */
}

static void* run(void* unused) {
  descend(g_depth);
  return unused;
}

int main(int argc, char** argv) {
  g_depth = argc > 1 ? atoi(argv[1]) : 10;
  const int threads = argc > 2 ? atoi(argv[2]) : 1;
  g_rounds = argc > 3 ? atol(argv[3]) : 100000;
  pthread_t ids[64];
  if (threads < 1 || threads > 64) return 2;
  struct timespec begin;
  struct timespec end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  for (int i = 1; i < threads; ++i) pthread_create(&ids[i], NULL, run, NULL);
  run(NULL);
  for (int i = 1; i < threads; ++i) pthread_join(ids[i], NULL);
  clock_gettime(CLOCK_MONOTONIC, &end);
  const double ns = (double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec);
  printf("%.2f\n", ns / (double)(g_rounds * kBatch) / threads);
  return 0;
}
