/* One thread that allocates without pause, and a timer whose handler strikes anywhere in it: in libc's malloc
 * and in the shim. usage: interrupted WHAT CALL ALTSTACK MICROSECONDS STRIKES
 *   WHAT     jumps     the handler leaves by siglongjmp
 *            mallocs   it allocates and frees; keeps some blocks
 *            forks     it forks, and the child goes on into what was interrupted
 *   CALL     malloc, calloc, realloc, memalign
 * Its allocator must be one that may be interrupted (objects/reentrant_malloc.c). */
#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/programs/victims/truth.h"

static sigjmp_buf top;
static const char* what;
static volatile int strikes;
static volatile sig_atomic_t in_child;
static int wanted;
static timer_t timer;

static void arm(long microseconds) {
  const struct itimerspec often = {{0, microseconds * 1000}, {0, microseconds * 1000}};
  REQUIRE(timer_settime(timer, 0, &often, NULL) == 0);
}

static NOINLINE void keep_in_handler(void) {
  SITE;
  REQUIRE(malloc(901) != NULL);
  BORN(901);
}

static NOINLINE void keep_after(void) {
  SITE;
  for (int i = 0; i < 100; ++i) {
    REQUIRE(malloc(999) != NULL);
    BORN(999);
  }
}

static void on_timer(int number) {
  (void)number;
  if (in_child) return;
  ++strikes;
  const int saved = errno;
  if (what[0] == 'j') siglongjmp(top, 1);
  if (what[0] == 'm') {
    free(malloc(300));
    if (strikes % 4 == 0) keep_in_handler();
  } else if (strikes < wanted) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(30);
      in_child = 1; /* on into what was interrupted */
    } else {
      int status = 0;
      REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
      REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 9);
    }
  }
  errno = saved;
}

static void* slots[256];

static void* allocate_here(const char* call, void* old, unsigned n) {
  if (call[0] == 'r') return realloc(old, 100 + n % 640);
  free(old);
  if (call[0] == 'c') return calloc(1, 100 + n % 64);
  if (call[1] == 'e') return memalign(64, 100 + n % 64);
  return malloc(100 + n % 64);
}

/* From further down the stack than what comes after it. */
static NOINLINE void* allocate(const char* call, void* old, unsigned n) {
  volatile char room[512];
  room[n % sizeof room] = 1;
  void* block = allocate_here(call, old, n);
  return room[n % sizeof room] ? block : NULL;
}

int main(int argc, char** argv) {
  REQUIRE(argc == 6);
  what = argv[1];
  wanted = atoi(argv[5]);
  if (atoi(argv[3])) {
    stack_t stack = {.ss_size = 1 << 18};
    stack.ss_sp = mmap(NULL, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(stack.ss_sp != MAP_FAILED && sigaltstack(&stack, NULL) == 0);
  }
  struct sigaction action = {.sa_handler = on_timer};
  action.sa_flags = SA_RESTART | (atoi(argv[3]) ? SA_ONSTACK : 0);
  REQUIRE(sigaction(SIGALRM, &action, NULL) == 0);
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
  REQUIRE(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
  static volatile unsigned n;
  (void)sigsetjmp(top, 1);
  if (strikes == 0) arm(atol(argv[4]));
  while (strikes < wanted) {
    ++n;
    void** slot = &slots[n * 2654435761u % 256];
    void* old = *slot;
    *slot = NULL; /* a jump away from here loses a block */
    *slot = allocate(argv[2], old, n);
    if (in_child) {
      for (int i = 0; i < 200; ++i) free(malloc(90));
      _exit(9);
    }
  }
  REQUIRE(timer_delete(timer) == 0);
  keep_after();
  report("end");
  return 0;
}
