/* Has secrets wherever a program has memory, and takes a snapshot: of argv[1], the environment, live and
 * freed heap blocks, a mapping, the stack of a recorded call, static and thread-local data. Each starts with
 * its first argument's text, so that the executable does not hold it. */
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "tests/programs/victims/truth.h"

static char in_static[64];
static __thread char in_thread[64];
static char* on_heap;
static void* volatile recorded;

static void make(char* where, const char* secret, const char* place) {
  snprintf(where, 64, "%s-%s", secret, place);
}

static NOINLINE void allocate_below(const char* secret) {
  char on_stack[64];
  make(on_stack, secret, "stack");
  recorded = malloc(4321);
  make(recorded, secret, "recorded");
  REQUIRE(strstr(on_stack, "stack") != NULL);
}

int main(int argc, char** argv) {
  REQUIRE(argc == 2);
  make(in_static, argv[1], "static");
  make(in_thread, argv[1], "thread-local");
  for (int i = 0; i < 1000; ++i) {
    on_heap = malloc(64);
    make(on_heap, argv[1], "heap");
    if (i % 2) free(on_heap);
  }
  char* mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  make(mapped, argv[1], "mapping");
  allocate_below(argv[1]);
  prctl(PR_SET_NAME, "open-name");
  report("secret");
  return 0;
}
