/* Handlers around fork that allocate and hold a lock of their own, under which other threads allocate, too:
 * some registered before every constructor, some late. usage: atfork_handlers FORKS */
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>

#include "tests/programs/victims/truth.h"

static pthread_mutex_t locks[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
static int done;

static NOINLINE void in_handler(void) {
  SITE;
  free(malloc(300));
  REQUIRE(malloc(30) != NULL);
  BORN(30);
}

static void prepare(int which) {
  in_handler();
  REQUIRE(pthread_mutex_lock(&locks[which]) == 0);
  in_handler();
}
static void go_on(int which) {
  in_handler();
  REQUIRE(pthread_mutex_unlock(&locks[which]) == 0);
  in_handler();
}
static void prepare_early(void) { prepare(0); }
static void prepare_late(void) { prepare(1); }
static void early(void) { go_on(0); }
static void late(void) { go_on(1); }

static void register_early(int argc, char** argv, char** env) {
  (void)argc;
  (void)argv;
  (void)env;
  REQUIRE(pthread_atfork(prepare_early, early, early) == 0);
}
__attribute__((section(".preinit_array"), used)) static void (*entry)(int, char**, char**) = register_early;

static void* allocate_locked(void* argument) {
  pthread_mutex_t* lock = argument;
  while (!__atomic_load_n(&done, __ATOMIC_RELAXED)) {
    REQUIRE(pthread_mutex_lock(lock) == 0);
    for (int i = 0; i < 10; ++i) free(malloc(200));
    REQUIRE(pthread_mutex_unlock(lock) == 0);
    sched_yield();
  }
  return NULL;
}

int main(int argc, char** argv) {
  REQUIRE(argc == 2);
  REQUIRE(pthread_atfork(prepare_late, late, late) == 0);
  pthread_t threads[4];
  for (int i = 0; i < 4; ++i) REQUIRE(pthread_create(&threads[i], NULL, allocate_locked, &locks[i % 2]) == 0);
  for (int i = 0; i < atoi(argv[1]); ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(50);
      in_handler();
      if (i == 0) report("child");
      _exit(4);
    }
    int status = 0;
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 4);
  }
  __atomic_store_n(&done, 1, __ATOMIC_RELAXED);
  for (int i = 0; i < 4; ++i) REQUIRE(pthread_join(threads[i], NULL) == 0);
  report("parent");
  return 0;
}
