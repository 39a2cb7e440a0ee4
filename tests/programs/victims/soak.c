/* malloc and free without end, in bounded memory: for scripts/soak.
 * usage: soak THREADS
 *
 * First kPeak small blocks are live at once, more than ever again, and in every part of an address table.
 * Then each thread keeps kLive blocks of mixed sizes from several call sites and replaces one after the
 * other; every sixteenth it swaps with a slot that all share, so that blocks are freed by other threads, too.
 * A line on stdin is answered with the number of blocks made so far; at its end, all is freed and the number
 * said once more. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "tests/programs/victims/truth.h"

enum { kMaxThreads = 64, kLive = 512, kShared = 256, kPeak = 1 << 18 };

static struct {
  _Alignas(64) _Atomic unsigned long long pairs;
  pthread_t id;
  void* live[kLive];
} threads[kMaxThreads];
static void* _Atomic shared[kShared];
static atomic_bool ending;

static NOINLINE void* small(size_t n) { return malloc(16 + n % 112); }
static NOINLINE void* middle(size_t n) { return malloc(128 + n % 1920); }
static NOINLINE void* large(size_t n) { return malloc(4096 + n % 61440); }
static NOINLINE void* cleared(size_t n) { return calloc(1 + n % 7, 24); }
static NOINLINE void* resized(void* p, size_t n) { return realloc(p, 32 + n % 480); }

static void* work(void* argument) {
  const size_t number = (size_t)(uintptr_t)argument;
  void** const live = threads[number].live;
  uint64_t random = number + 1;
  for (uint64_t i = 0; !atomic_load_explicit(&ending, memory_order_relaxed); ++i) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    const size_t n = (size_t)(random >> 33);
    void** const slot = &live[i % kLive];
    if (n % 64 == 1 && *slot) {
      *slot = resized(*slot, n);
    } else {
      free(*slot);
      *slot = n % 256 == 0 ? large(n) : n % 8 == 0 ? middle(n) : n % 8 == 3 ? cleared(n) : small(n);
    }
    REQUIRE(*slot != NULL);
    if (i % 16 == 0) *slot = atomic_exchange(&shared[n % kShared], *slot);
    atomic_store_explicit(&threads[number].pairs, i + 1, memory_order_relaxed);
  }
  for (size_t i = 0; i < kLive; ++i) free(live[i]);
  return NULL;
}

static void have_peak(void) {
  static void* blocks[kPeak];
  for (size_t i = 0; i < kPeak; ++i) REQUIRE((blocks[i] = small(0)) != NULL);
  for (size_t i = 0; i < kPeak; ++i) free(blocks[i]);
}

static void say_pairs(size_t count) {
  char line[64];
  unsigned long long pairs = 0;
  for (size_t i = 0; i < count; ++i) pairs += atomic_load_explicit(&threads[i].pairs, memory_order_relaxed);
  snprintf(line, sizeof line, "%llu\n", pairs);
  say(line);
}

int main(int argc, char** argv) {
  const size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 4;
  REQUIRE(count > 0 && count <= kMaxThreads);
  have_peak();
  for (size_t i = 0; i < count; ++i) {
    REQUIRE(pthread_create(&threads[i].id, NULL, work, (void*)(uintptr_t)i) == 0);
  }
  char line[64];
  for (ssize_t got; (got = read(0, line, sizeof line)) > 0;) say_pairs(count);
  atomic_store(&ending, 1);
  for (size_t i = 0; i < count; ++i) pthread_join(threads[i].id, NULL);
  for (size_t i = 0; i < kShared; ++i) free(shared[i]);
  say_pairs(count);
  return 0;
}
