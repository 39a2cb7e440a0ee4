/* Threads that allocate without pause and are cancelled in the midst of it, asynchronously; the same stacks
 * serve the next ones. Then the main thread allocates: all of that is known. usage: cancelled COUNT */
#include <pthread.h>
#include <sched.h>

#include "tests/programs/victims/truth.h"

static int running;

static void* allocate(void* unused) {
  REQUIRE(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL) == 0);
  for (unsigned i = 0;; ++i) {
    free(malloc(100 + i % 900));
    __atomic_store_n(&running, 1, __ATOMIC_RELAXED);
  }
  return unused;
}

static NOINLINE void* keep(void* unused) {
  SITE;
  for (int i = 0; i < 100; ++i) {
    REQUIRE(malloc(77) != NULL);
    BORN(77);
  }
  return unused;
}

int main(int argc, char** argv) {
  REQUIRE(argc == 2);
  alarm(60);
  for (int i = 0; i < atoi(argv[1]); ++i) {
    pthread_t thread;
    __atomic_store_n(&running, 0, __ATOMIC_RELAXED);
    REQUIRE(pthread_create(&thread, NULL, allocate, NULL) == 0);
    while (!__atomic_load_n(&running, __ATOMIC_RELAXED)) sched_yield();
    REQUIRE(pthread_cancel(thread) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    /* The next one at this place. */
    REQUIRE(pthread_create(&thread, NULL, keep, NULL) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
  }
  keep(NULL);
  report("end");
  return 0;
}
