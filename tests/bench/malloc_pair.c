/* What one malloc and its free cost, from a stack of known depth.
 *
 *   malloc_pair DEPTH THREADS ROUNDS [PATTERN]      prints nanoseconds per pair, all threads together running
 *
 * A round is 64 allocations, then their 64 frees; a twentieth of the rounds goes ahead to warm up. PATTERN:
 *   plain   16 to 527 bytes, freed in the order of allocation (the default)
 *   mixed   1 byte to 16 KiB, small ones more often, freed in another order
 *   cross   as plain, but every second thread frees what the one before it allocated: THREADS is even
 * Preload what is to be measured. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { kBatch = 64, kQueue = 16, kMaxThreads = 64 };
enum Pattern { kPlain, kMixed, kCross };

/* From one allocating thread to one freeing thread: batches, in order. */
struct Queue {
  void* blocks[kQueue][kBatch];
  _Alignas(64) atomic_long sent;
  _Alignas(64) atomic_long taken;
};

static long g_rounds;
static int g_depth;
static enum Pattern g_pattern;
static struct Queue g_queues[kMaxThreads / 2];
static pthread_barrier_t g_warm;

static size_t plain_size(long round, int i) { return 16 + (size_t)(round * 31 + i * 8) % 512; }

/* 2^0 .. 2^13 and something: each power as often as any other, up to 1 KiB; one in sixteen above. */
static size_t mixed_size(long round, int i) {
  const unsigned random = ((unsigned)round * 64u + (unsigned)i) * 2654435761u;
  const unsigned power = (random >> 28) == 0 ? 10 + (random >> 26) % 4 : (random >> 24) % 10;
  return ((size_t)1 << power) + ((random >> 8) & (((size_t)1 << power) - 1));
}

static void plain(long rounds) {
  void* blocks[kBatch];
  for (long round = 0; round < rounds; ++round) {
    for (int i = 0; i < kBatch; ++i) blocks[i] = malloc(plain_size(round, i));
    for (int i = 0; i < kBatch; ++i) free(blocks[i]);
  }
}

static void mixed(long rounds) {
  void* blocks[kBatch];
  for (long round = 0; round < rounds; ++round) {
    for (int i = 0; i < kBatch; ++i) blocks[i] = malloc(mixed_size(round, i));
    for (int i = 0; i < kBatch; ++i) free(blocks[(i * 27 + round) % kBatch]); /* 27 is odd: each one once */
  }
}

/* A step of the queue is 64 pairs, so that waiting for the other side is a small part of it. */
static void send(struct Queue* queue, long rounds) {
  const long first = atomic_load_explicit(&queue->sent, memory_order_relaxed);
  for (long round = first; round < first + rounds; ++round) {
    while (round - atomic_load_explicit(&queue->taken, memory_order_acquire) == kQueue) sched_yield();
    void** blocks = queue->blocks[round % kQueue];
    for (int i = 0; i < kBatch; ++i) blocks[i] = malloc(plain_size(round, i));
    atomic_store_explicit(&queue->sent, round + 1, memory_order_release);
  }
}

static void receive(struct Queue* queue, long rounds) {
  const long first = atomic_load_explicit(&queue->taken, memory_order_relaxed);
  for (long round = first; round < first + rounds; ++round) {
    while (atomic_load_explicit(&queue->sent, memory_order_acquire) == round) sched_yield();
    void** blocks = queue->blocks[round % kQueue];
    for (int i = 0; i < kBatch; ++i) free(blocks[i]);
    atomic_store_explicit(&queue->taken, round + 1, memory_order_release);
  }
}

__attribute__((noinline)) static void work(long thread, long rounds) {
  if (g_pattern == kPlain) {
    plain(rounds);
  } else if (g_pattern == kMixed) {
    mixed(rounds);
  } else if (thread % 2 == 0) {
    send(&g_queues[thread / 2], rounds);
  } else {
    receive(&g_queues[thread / 2], rounds);
  }
}

__attribute__((noinline)) static void descend(int levels, long thread, long rounds) {
  if (levels > 0) {
    descend(levels - 1, thread, rounds);
  } else {
    work(thread, rounds);
  }
  __asm__ volatile(""); /* no tail call */
}

static struct timespec g_begin;

static void* run(void* argument) {
  const long thread = (long)argument;
  descend(g_depth, thread, g_rounds / 20 + 1);
  pthread_barrier_wait(&g_warm);
  if (thread == 0) clock_gettime(CLOCK_MONOTONIC, &g_begin);
  descend(g_depth, thread, g_rounds);
  return NULL;
}

int main(int argc, char** argv) {
  g_depth = argc > 1 ? atoi(argv[1]) : 10;
  const int threads = argc > 2 ? atoi(argv[2]) : 1;
  g_rounds = argc > 3 ? atol(argv[3]) : 100000;
  const char* pattern = argc > 4 ? argv[4] : "plain";
  g_pattern = strcmp(pattern, "mixed") == 0 ? kMixed : strcmp(pattern, "cross") == 0 ? kCross : kPlain;
  if (threads < 1 || threads > kMaxThreads || (g_pattern == kCross && threads % 2)) return 2;

  pthread_t ids[kMaxThreads];
  pthread_barrier_init(&g_warm, NULL, (unsigned)threads);
  for (long i = 1; i < threads; ++i) pthread_create(&ids[i], NULL, run, (void*)i);
  run(NULL);
  for (int i = 1; i < threads; ++i) pthread_join(ids[i], NULL);
  struct timespec end;
  clock_gettime(CLOCK_MONOTONIC, &end);
  const double ns = (double)(end.tv_sec - g_begin.tv_sec) * 1e9 + (double)(end.tv_nsec - g_begin.tv_nsec);
  const int allocating = g_pattern == kCross ? threads / 2 : threads;
  printf("%.2f\n", ns / (double)(g_rounds * kBatch) / allocating);
  return 0;
}
