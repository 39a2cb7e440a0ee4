/* Known leaks, for every libc that there is: see scripts/load-everywhere. C99 and POSIX, nothing of
 * memtrace's. usage: everywhere PLUGIN [PROGRAM]
 *
 * Leaks by every function, in threads, in a plugin, in a forked child; says the truth and waits for a byte on
 * stdin, first the child ("child ready"), then the parent ("ready"). Ends with status 3. PROGRAM, if given,
 * is run before that: a child of another kind, which inherits LD_PRELOAD. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))
#define CHECK(condition)                                                    \
  do {                                                                      \
    if (!(condition)) {                                                     \
      fprintf(stderr, "everywhere:%d: not so: %s\n", __LINE__, #condition); \
      exit(99);                                                             \
    }                                                                       \
  } while (0)

enum { kThreads = 4, kPairs = 5000 };
static __thread void* volatile kept; /* what is stored here is not optimised away */

/* LEAK(name, count, size, expression giving p): defines name(), which leaks count blocks of size bytes. */
#define LEAK(name, count, size, ...)                                                \
  static NOINLINE void name(void) {                                                 \
    for (int i = 0; i < (count); ++i) {                                             \
      void* p = NULL;                                                               \
      __VA_ARGS__;                                                                  \
      CHECK(p != NULL);                                                             \
      memset(p, 1, (size));                                                         \
      kept = p;                                                                     \
    }                                                                               \
  }                                                                                 \
  static void say_##name(int times) {                                               \
    printf("site %s %ld %d\n", #name, (long)(size) * (count)*times, (count)*times); \
  }

LEAK(by_malloc, 20000, 400, p = malloc(400))
LEAK(by_calloc, 300, 700, p = calloc(7, 100))
LEAK(by_realloc, 200, 900, p = realloc(malloc(10), 900))
LEAK(by_posix_memalign, 20, 4096, CHECK(posix_memalign(&p, 4096, 4096) == 0))
LEAK(by_aligned_alloc, 30, 128, p = aligned_alloc(64, 128))
LEAK(large_by_malloc, 2, 1000000, p = malloc(1000000))
LEAK(by_mmap, 3, 8192,
     CHECK((p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) != MAP_FAILED))
LEAK(in_thread, 50, 64, p = malloc(64))
LEAK(in_child, 5, 1000, p = malloc(1000))

static NOINLINE void pairs(void) {
  for (int i = 0; i < kPairs; ++i) {
    void* volatile block = malloc((size_t)(i % 500)); /* each thread's own */
    free(block);
  }
}

static void* thread(void* argument) {
  pairs();
  in_thread();
  return argument;
}

static void threads(void) {
  pthread_t all[kThreads];
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_create(&all[i], NULL, thread, NULL) == 0);
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_join(all[i], NULL) == 0);
}

static void wait_for_a_byte(const char* ready) {
  char byte;
  puts(ready);
  fflush(stdout);
  CHECK(read(0, &byte, 1) == 1);
}

static void plugin(const char* path) {
  void* library = dlopen(path, RTLD_NOW);
  if (library == NULL) fprintf(stderr, "%s\n", dlerror());
  CHECK(library != NULL);
  void (*leak)(void);
  void* symbol = dlsym(library, "in_plugin");
  CHECK(symbol != NULL);
  memcpy(&leak, &symbol, sizeof leak);
  leak();
  puts("site in_plugin 2100 7");
}

static void child(void) {
  const pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    in_child();
    say_in_child(1);
    wait_for_a_byte("child ready");
    exit(0);
  }
  int status = -1;
  CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

int main(int argc, char** argv) {
  CHECK(argc == 2 || argc == 3);
  by_malloc(), say_by_malloc(1);
  by_calloc(), say_by_calloc(1);
  by_realloc(), say_by_realloc(1);
  by_posix_memalign(), say_by_posix_memalign(1);
  by_aligned_alloc(), say_by_aligned_alloc(1);
  large_by_malloc(), say_large_by_malloc(1);
  by_mmap(), say_by_mmap(1);
  threads(), say_in_thread(kThreads);
  plugin(argv[1]);
  pairs();
  fflush(stdout);
  if (argc == 3) CHECK(system(argv[2]) == 0);
  child();
  wait_for_a_byte("ready");
  puts("done");
  return 3;
}
