/* Coroutines that go on in another thread than the one in which they were left, allocating before and after.
 * Two threads hand them to one another. */
#include <pthread.h>
#include <ucontext.h>

#include "tests/programs/victims/truth.h"

enum { kCoroutines = 16, kSwitches = 400, kStack = 64 * 1024 };

struct coroutine {
  ucontext_t context;
  ucontext_t* back;
  int done;
  void* block;
};
static struct coroutine coroutines[kCoroutines];
static char stacks[kCoroutines][kStack] __attribute__((aligned(64)));
static pthread_barrier_t turn;

static NOINLINE void* keep(size_t size) {
  SITE;
  void* block = malloc(size);
  REQUIRE(block != NULL);
  BORN(size);
  return block;
}

static NOINLINE void leave(struct coroutine* self) { swapcontext(&self->context, self->back); }

static void body(int number) {
  struct coroutine* self = &coroutines[number];
  for (int i = 0; i < kSwitches; ++i) {
    void* block = malloc((size_t)(i * 13 % 3000));
    leave(self);
    block = realloc(block, (size_t)(i * 7 % 2000 + 1));
    leave(self);
    free(block);
    if (i % 50 == 0) keep(123);
  }
  self->done = 1;
  leave(self);
}

static NOINLINE void enter(struct coroutine* coroutine, ucontext_t* here) {
  coroutine->back = here;
  swapcontext(here, &coroutine->context);
}

static void* run(void* argument) {
  const int odd = argument != NULL;
  ucontext_t here;
  for (int round = 0; round < kSwitches * 2 + 1; ++round) {
    pthread_barrier_wait(&turn);
    for (int i = 0; i < kCoroutines; ++i) {
      if (((i + round) & 1) == odd && !coroutines[i].done) enter(&coroutines[i], &here);
    }
  }
  return NULL;
}

int main(void) {
  REQUIRE(pthread_barrier_init(&turn, NULL, 2) == 0);
  for (int i = 0; i < kCoroutines; ++i) {
    REQUIRE(getcontext(&coroutines[i].context) == 0);
    coroutines[i].context.uc_stack.ss_sp = stacks[i];
    coroutines[i].context.uc_stack.ss_size = kStack;
    makecontext(&coroutines[i].context, (void (*)(void))body, 1, i);
  }
  pthread_t other;
  REQUIRE(pthread_create(&other, NULL, run, &turn) == 0);
  run(NULL);
  REQUIRE(pthread_join(other, NULL) == 0);
  for (int i = 0; i < kCoroutines; ++i) REQUIRE(coroutines[i].done);
  report("end");
  return 0;
}
