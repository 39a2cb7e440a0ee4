/* A profiler's handler allocates ten thousand times a second, wherever it interrupts a loop that allocates.
 * For an allocator that handlers may call. Says how many blocks of 64 bytes the loop holds and how many of
 * 100 the handler does, and takes a snapshot. */
#include <signal.h>
#include <time.h>

#include "tests/programs/victims/truth.h"

enum { kBlocks = 4096, kHandled = 3000 };
static volatile sig_atomic_t handled;

static NOINLINE void in_handler(void) {
  /* One of two is given back: what a handler frees must be gone as well. */
  void* freed = malloc(200);
  void* kept = malloc(100);
  free(freed);
  __asm__ volatile("" : : "r"(kept));
}

static void on_profile(int number) {
  (void)number;
  if (handled == kHandled) return;
  const int saved = errno;
  in_handler();
  ++handled;
  errno = saved;
}

static NOINLINE void* in_loop(int depth) {
  void* block = depth > 0 ? in_loop(depth - 1) : malloc(64);
  __asm__ volatile("" : "+r"(block));
  return block;
}

int main(void) {
  static void* blocks[kBlocks];
  struct sigaction action = {.sa_handler = on_profile, .sa_flags = SA_RESTART};
  REQUIRE(sigaction(SIGPROF, &action, NULL) == 0);
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGPROF};
  timer_t timer;
  REQUIRE(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
  const struct itimerspec often = {{0, 100000}, {0, 100000}};
  REQUIRE(timer_settime(timer, 0, &often, NULL) == 0);
  for (unsigned i = 0; i < kBlocks || handled < kHandled; ++i) {
    void** block = &blocks[i % kBlocks];
    free(*block);
    *block = in_loop((int)(i % 24));
  }
  REQUIRE(timer_delete(timer) == 0);
  char line[64];
  snprintf(line, sizeof line, "held %d %d\n", kBlocks, (int)handled);
  say(line);
  REQUIRE(memtrace_snapshot(NULL, NULL, 0) == 0);
  return 0;
}
