/* Three threads with names, each with a block of its own; says "thread NAME TID SIZE" for each, then "clock"
 * lines around two allocations. */
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>

#include "tests/programs/victims/truth.h"

static pthread_barrier_t barrier;

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (long long)t.tv_sec * 1000000000 + t.tv_nsec;
}

static NOINLINE void allocate(int size) { REQUIRE(malloc((size_t)size) != NULL); }

static void* body(void* argument) {
  const int size = *(int*)argument;
  char name[16];
  char line[64];
  snprintf(name, sizeof name, "worker-%d", size);
  pthread_setname_np(pthread_self(), name);
  for (int i = 0; i < 10; ++i) allocate(size);
  snprintf(line, sizeof line, "thread %s %ld %d\n", name, (long)syscall(SYS_gettid), size);
  say(line);
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  return NULL;
}

int main(void) {
  static int sizes[3] = {1001, 1002, 1003};
  pthread_t threads[3];
  char line[64];
  snprintf(line, sizeof line, "clock %lld\n", now());
  say(line);
  pthread_barrier_init(&barrier, NULL, 4);
  for (int i = 0; i < 3; ++i) REQUIRE(pthread_create(&threads[i], NULL, body, &sizes[i]) == 0);
  pthread_barrier_wait(&barrier);
  snprintf(line, sizeof line, "clock %lld\n", now());
  say(line);
  report(NULL);
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < 3; ++i) pthread_join(threads[i], NULL);
  return 0;
}
