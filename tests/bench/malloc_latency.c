/* How long malloc and free take before, while and after a snapshot is written.
 *
 *   malloc_latency LIVE MILLISECONDS
 *
 * LIVE blocks are made; then one thread frees and allocates and times each call by the processor's clock,
 * while main waits for so many milliseconds, takes a snapshot, and waits again. For each window and call one
 * line: WINDOW CALL number p50 p99 p99.9 max max-undisturbed      in nanoseconds The last column leaves out
 * calls during which the kernel may have given the processor to somebody else; a call that itself waited for
 * a lock is kept. Without the shim there is no snapshot, and only the first window. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <x86intrin.h>

#include "preload/memtrace.h"
#include "tests/bench/call_paths.h"

/* Buckets of 1/32 of a power of two. */
enum { kSub = 32, kBuckets = 64 * kSub, kRing = 1024, kCheckSwitches = 1024 };
enum Window { kBefore, kDuring, kAfter, kOver };

struct Histogram {
  uint64_t counts[kBuckets];
  uint64_t total, max, max_undisturbed;
};
static struct Histogram g_histograms[kOver][2]; /* malloc, free */
static atomic_int g_window;
static void* g_ring[kRing];

static unsigned bucket_of(uint64_t ticks) {
  if (ticks < kSub) return (unsigned)ticks;
  const unsigned power = 63 - (unsigned)__builtin_clzll(ticks);
  return (power - 4) * kSub + (unsigned)((ticks >> (power - 5)) & (kSub - 1));
}

static uint64_t end_of(unsigned bucket) {
  if (bucket < kSub) return bucket;
  const unsigned power = bucket / kSub + 4;
  return (((uint64_t)kSub + bucket % kSub + 1) << (power - 5)) - 1;
}

/* How often this thread lost the processor although it had something to do. */
static long switches(void) {
  struct rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

static void record(enum Window window, int call, uint64_t ticks, long* switched) {
  struct Histogram* h = &g_histograms[window][call];
  ++h->counts[bucket_of(ticks)];
  ++h->total;
  if (ticks > h->max) h->max = ticks;
  if (ticks <= h->max_undisturbed) return;
  const long now = switches();
  if (now == *switched) h->max_undisturbed = ticks;
  *switched = now;
}

static void* measure(void* unused) {
  uint64_t random = 7;
  long switched = switches();
  for (unsigned long n = 0;; ++n) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    void** slot = &g_ring[n % kRing];
    const int window = atomic_load_explicit(&g_window, memory_order_acquire);
    if (window == kOver) return unused;
    const uint64_t a = __rdtsc();
    free(*slot);
    const uint64_t b = __rdtsc();
    *slot = malloc(16 + (random >> 33) % 512);
    const uint64_t c = __rdtsc();
    /* A call that saw the snapshot begin or end belongs to it. */
    const int then = atomic_load_explicit(&g_window, memory_order_acquire);
    if (then == kOver) return unused;
    const enum Window where = window == then ? (enum Window)window : kDuring;
    record(where, 1, b - a, &switched);
    record(where, 0, c - b, &switched);
    if (n % kCheckSwitches == 0) switched = switches();
  }
}

static double quantile(const struct Histogram* h, double share) {
  uint64_t seen = 0;
  for (unsigned i = 0; i < kBuckets; ++i) {
    seen += h->counts[i];
    if ((double)seen >= share * (double)h->total) return (double)(end_of(i) < h->max ? end_of(i) : h->max);
  }
  return (double)h->max;
}

static double now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

int main(int argc, char** argv) {
  const size_t live = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000000;
  const long milliseconds = argc > 2 ? atol(argv[2]) : 500;
  void** blocks = calloc(live + 1, sizeof *blocks);
  if (!blocks) return 1;
  for (size_t i = 0; i < live; ++i)
    blocks[i] = path((unsigned)(i * 2654435761u) >> 7 & 1023, 10, 16 + i % 200);

  const struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  pthread_t thread;
  const double begin_ns = now_ns();
  const uint64_t begin = __rdtsc();
  if (pthread_create(&thread, NULL, measure, NULL)) return 1;
  nanosleep(&pause, NULL);
  atomic_store(&g_window, kDuring);
  const int error = memtrace_snapshot("load", NULL, 0);
  atomic_store(&g_window, error ? kOver : kAfter);
  if (!error) nanosleep(&pause, NULL);
  atomic_store(&g_window, kOver);
  pthread_join(thread, NULL);
  const double ticks_per_ns = (double)(__rdtsc() - begin) / (now_ns() - begin_ns);

  static const char* const windows[] = {"before", "during", "after"};
  static const char* const calls[] = {"malloc", "free"};
  for (int w = 0; w < (error ? 1 : kOver); ++w) {
    for (int call = 0; call < 2; ++call) {
      const struct Histogram* h = &g_histograms[w][call];
      printf("%s %s %llu %.0f %.0f %.0f %.0f %.0f\n", windows[w], calls[call], (unsigned long long)h->total,
             quantile(h, 0.5) / ticks_per_ns, quantile(h, 0.99) / ticks_per_ns,
             quantile(h, 0.999) / ticks_per_ns, (double)h->max / ticks_per_ns,
             (double)h->max_undisturbed / ticks_per_ns);
    }
  }
  return 0;
}
