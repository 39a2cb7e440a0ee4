/* What one more of something costs when there are N of it already.
 *
 *   one_more live N [SIZE]         free a random block of N and allocate anew, from a thousand call paths
 *   one_more samples N             a malloc and a free of a small block beside N large ones
 *   one_more stacks N              a malloc from a call path that was never seen, after N others
 *   one_more threads N             a thread that allocates and ends, beside N that wait
 *   one_more modules N DIRECTORY   dlopen one, allocate in it, dlclose it, beside N; DIRECTORY/0.so, 1.so,
 * ... are there one_more calls N DIRECTORY     a malloc and a free in any one of N modules Prints nanoseconds
 * (mean) and KiB resident when there are N. Preload what is to be measured. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/call_paths.h"

enum { kPathLevels = 10, kStackLevels = 24, kSamples = 128000, kBatch = 64, kThreadStack = 64 * 1024 };

static unsigned random_below(unsigned n) {
  static uint64_t state = 1;
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (unsigned)((state >> 33) * n >> 31);
}

static void fail(const char* what) {
  fprintf(stderr, "one_more: %s\n", what);
  exit(2);
}

static void* must(void* pointer) {
  if (!pointer) fail("no memory");
  return pointer;
}

static double now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void print(double ns, unsigned operations, long rss_kib) {
  printf("%.1f %ld\n", ns / operations, rss_kib);
}

static long resident_kib(void) {
  long size = 0;
  long resident = 0;
  FILE* file = must(fopen("/proc/self/statm", "r"));
  if (fscanf(file, "%ld %ld", &size, &resident) != 2) fail("/proc/self/statm");
  fclose(file);
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void live(unsigned n, size_t size) {
  void** blocks = must(malloc(n * sizeof *blocks));
  for (unsigned i = 0; i < n; ++i) blocks[i] = must(path(random_below(1024), kPathLevels, size));
  const long rss = resident_kib();
  const unsigned operations = 100000;
  double begin = 0;
  for (unsigned i = 0; i < operations + operations / 10; ++i) {
    if (i == operations / 10) begin = now_ns();
    void** block = &blocks[random_below(n)];
    free(*block);
    *block = path(i & 1023, kPathLevels, size);
  }
  print(now_ns() - begin, operations, rss);
}

static void samples(unsigned n) {
  for (unsigned i = 0; i < n; ++i) must(path(random_below(1024), kPathLevels, kSamples));
  const long rss = resident_kib();
  const unsigned rounds = 20000;
  void* blocks[kBatch];
  const double begin = now_ns();
  for (unsigned round = 0; round < rounds; ++round) {
    for (unsigned i = 0; i < kBatch; ++i) blocks[i] = malloc(16 + (round * 31 + i * 8) % 512);
    for (unsigned i = 0; i < kBatch; ++i) free(blocks[i]);
  }
  print(now_ns() - begin, rounds * kBatch, rss);
}

static void stacks(unsigned n) {
  for (unsigned i = 0; i < n; ++i) free(path(i, kStackLevels, 16));
  const long rss = resident_kib();
  const unsigned operations = 2000;
  const double begin = now_ns();
  for (unsigned i = n; i < n + operations; ++i) free(path(i, kStackLevels, 16));
  print(now_ns() - begin, operations, rss);
}

static pthread_barrier_t g_started;
static pthread_barrier_t g_end;

static void* wait_for_end(void* unused) {
  void* block = malloc(100);
  pthread_barrier_wait(&g_started);
  pthread_barrier_wait(&g_end);
  free(block);
  return unused;
}

static void* allocate_and_end(void* unused) {
  free(malloc(100));
  return unused;
}

static void threads(unsigned n) {
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, kThreadStack);
  pthread_barrier_init(&g_started, NULL, n + 1);
  pthread_barrier_init(&g_end, NULL, n + 1);
  pthread_t* ids = must(malloc(n * sizeof *ids));
  for (unsigned i = 0; i < n; ++i) {
    if (pthread_create(&ids[i], &small, wait_for_end, NULL)) fail("no more threads");
  }
  pthread_barrier_wait(&g_started);
  const long rss = resident_kib();
  const unsigned operations = 500;
  const double begin = now_ns();
  for (unsigned i = 0; i < operations; ++i) {
    pthread_t id;
    if (pthread_create(&id, &small, allocate_and_end, NULL)) fail("no more threads");
    pthread_join(id, NULL);
  }
  print(now_ns() - begin, operations, rss);
  pthread_barrier_wait(&g_end);
  for (unsigned i = 0; i < n; ++i) pthread_join(ids[i], NULL);
}

typedef void* Allocate(size_t);

static void* open_module(const char* directory, unsigned i, Allocate** allocate) {
  char name[4096];
  snprintf(name, sizeof name, "%s/%u.so", directory, i);
  void* module = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!module) fail(dlerror());
  *(void**)allocate = must(dlsym(module, "allocate"));
  return module;
}

static void modules(unsigned n, const char* directory, int calls_only) {
  Allocate** allocate = must(malloc(n * sizeof *allocate));
  for (unsigned i = 0; i < n; ++i) {
    open_module(directory, i, &allocate[i]);
    must(allocate[i](100));
  }
  const long rss = resident_kib();
  const unsigned operations = calls_only ? 100000 : 20;
  const double begin = now_ns();
  for (unsigned i = 0; i < operations; ++i) {
    if (calls_only) {
      free(allocate[random_below(n)](100));
      continue;
    }
    Allocate* function;
    void* module = open_module(directory, n + i, &function);
    free(function(100));
    dlclose(module);
  }
  print(now_ns() - begin, operations, rss);
}

int main(int argc, char** argv) {
  if (argc < 3) fail("usage: one_more live|samples|stacks|threads|modules|calls N [SIZE or DIRECTORY]");
  const char* what = argv[1];
  const unsigned n = (unsigned)strtoul(argv[2], NULL, 10);
  if (n == 0) fail("N must be at least 1");
  if (strcmp(what, "live") == 0) {
    live(n, argc > 3 ? strtoul(argv[3], NULL, 10) : 16);
  } else if (strcmp(what, "samples") == 0) {
    samples(n);
  } else if (strcmp(what, "stacks") == 0) {
    stacks(n);
  } else if (strcmp(what, "threads") == 0) {
    threads(n);
  } else if (argc > 3 && (strcmp(what, "modules") == 0 || strcmp(what, "calls") == 0)) {
    modules(n, argv[3], strcmp(what, "calls") == 0);
  } else {
    fail("see the comment on top of one_more.c");
  }
  return 0;
}
