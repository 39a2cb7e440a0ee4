// Coroutines on stacks from malloc and from mmap, right below unreadable pages, that allocate, call one
// another and catch signals; their stacks are unmapped and used again. Exits 0.
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { kStack = 64 * 1024, kPage = 4096 };

static ucontext_t g_main;
static ucontext_t g_inner_caller;
static ucontext_t g_inner;
static volatile int g_done;

__attribute__((noipa)) static void work(int depth) {
  char bytes[300];
  memset(bytes, depth, sizeof bytes);
  free(malloc((size_t)bytes[7] + 1));
  if (depth > 0) work(depth - 1);
  free(malloc((size_t)bytes[8] + 1));
}

static void on_signal(int number) {
  (void)number;
  work(1);
}

static void inner(void) {
  work(3);
  raise(SIGUSR1);
}

static void outer(int number) {
  work(number % 20);
  raise(SIGUSR1);
  char* stack = malloc(kStack);
  getcontext(&g_inner);
  g_inner.uc_stack.ss_sp = stack;
  g_inner.uc_stack.ss_size = kStack;
  g_inner.uc_link = &g_inner_caller;
  makecontext(&g_inner, inner, 0);
  swapcontext(&g_inner_caller, &g_inner);
  free(stack);
  work(2);
  ++g_done;
}

static void run(char* stack, int number) {
  ucontext_t coroutine;
  getcontext(&coroutine);
  coroutine.uc_stack.ss_sp = stack;
  coroutine.uc_stack.ss_size = kStack;
  coroutine.uc_link = &g_main;
  makecontext(&coroutine, (void (*)(void))outer, 1, number);
  swapcontext(&g_main, &coroutine);
}

int main(void) {
  signal(SIGUSR1, on_signal);
  for (int i = 0; i < 40; ++i) {
    char* block = malloc(kStack);
    run(block, i);
    free(block);
    char* pages = mmap(NULL, kStack + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(pages + kPage, kStack, PROT_READ | PROT_WRITE);
    run(pages + kPage, i);
    munmap(pages, kStack + 2 * kPage);
  }
  return g_done == 80 ? 0 : 1;
}
