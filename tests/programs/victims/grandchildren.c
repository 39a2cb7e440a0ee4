/* A child with a thread that allocates without pause allocates a few blocks, one, or none, and forks: its own
 * children are set up anew, whatever it had done before. Each holds blocks of its own, all over the place, so
 * that a lock which the thread left held would be met. usage: grandchildren BLOCKS FORKS */
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/programs/victims/truth.h"

static int running;

static void* churn(void* unused) {
  void* blocks[512] = {NULL};
  for (unsigned i = 0;; ++i) {
    void** block = &blocks[i * 7 % 512];
    free(*block);
    *block = malloc(1000 + i % 3000);
    if (i > 5000) __atomic_store_n(&running, 1, __ATOMIC_RELAXED);
  }
  return unused;
}

static NOINLINE void in_grandchild(void) {
  SITE;
  REQUIRE(malloc(4096) != NULL);
  BORN(4096);
}

static void be_grandchild(void) {
  alarm(30); /* one that hangs is killed, and its parent says so */
  for (int i = 0; i < 3000; ++i) {
    void* block = malloc(700);
    in_grandchild();
    free(block);
  }
  report("grandchild");
  _exit(7);
}

int main(int argc, char** argv) {
  REQUIRE(argc == 3);
  free(malloc(10));
  REQUIRE(malloc(100) != NULL);
  const pid_t child = fork();
  if (child == 0) {
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, churn, NULL) == 0);
    for (int i = 0; i < atoi(argv[1]); ++i) REQUIRE(malloc(33) != NULL);
    while (!__atomic_load_n(&running, __ATOMIC_RELAXED)) {
    }
    for (int i = 0; i < atoi(argv[2]); ++i) {
      const pid_t grandchild = fork();
      if (grandchild == 0) be_grandchild();
      int status = 0;
      REQUIRE(grandchild > 0 && waitpid(grandchild, &status, 0) == grandchild);
      REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    }
    _exit(0);
  }
  int status = 0;
  REQUIRE(child > 0 && waitpid(child, &status, 0) == child && status == 0);
  return 0;
}
