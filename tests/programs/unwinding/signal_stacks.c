// Handlers that allocate: on the normal stack, on an alternate one, one inside the other; in leaf code, in
// libc and in threads. Exits 0.
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_int g_handled; /* a signal to the process is handled by any thread */

__attribute__((noipa)) static void allocate(void) {
  void* block = malloc(10);
  if (!block) abort();
  free(block);
  ++g_handled;
}

static void on_usr1(int number) {
  (void)number;
  allocate();
}

// A signal while another is handled: back on the same stack, or from the normal one to the alternate.
static void on_usr2(int number, siginfo_t* info, void* context) {
  (void)number, (void)info, (void)context;
  allocate();
  raise(SIGUSR1);
  allocate();
}

static void on_hup(int number) {
  (void)number;
  raise(SIGUSR2);
}

static void on_fault(int number, siginfo_t* info, void* context) {
  (void)number, (void)info;
  allocate();
  ucontext_t* interrupted = context;
  interrupted->uc_mcontext.gregs[REG_RIP] += 2;  // ud2
}

// Interrupted where nothing was called: at an instruction of a function without a frame.
__attribute__((noipa)) static void leaf_fault(void) { __asm__ volatile("ud2" ::: "memory"); }
__attribute__((noipa)) static void framed_fault(size_t size) {
  char bytes[size];
  memset(bytes, 1, size);
  __asm__ volatile("ud2" : : "r"(bytes) : "memory");
}

static int by_fault(const void* a, const void* b) {
  leaf_fault();
  return *(const int*)a - *(const int*)b;
}

static void install(int number, void (*handler)(int), int flags) {
  struct sigaction action = {0};
  action.sa_handler = handler;
  action.sa_flags = flags;
  if (sigaction(number, &action, NULL) != 0) abort();
}

static void all_signals(int usr1_flags, int usr2_flags, int hup_flags) {
  install(SIGUSR1, on_usr1, usr1_flags);
  install(SIGUSR2, (void (*)(int))(uintptr_t)on_usr2, usr2_flags | SA_SIGINFO);
  install(SIGHUP, on_hup, hup_flags);
  install(SIGILL, (void (*)(int))(uintptr_t)on_fault, usr2_flags | SA_SIGINFO);
  raise(SIGUSR1);
  raise(SIGUSR2);
  raise(SIGHUP);
  kill(getpid(), SIGHUP);
  leaf_fault();
  framed_fault(100);
  int numbers[] = {3, 1, 2, 5, 4};
  qsort(numbers, 5, sizeof *numbers, by_fault);
}

static void* with_all_kinds_of_stack(void* where) {
  stack_t stack = {.ss_sp = where, .ss_size = 1 << 17};
  if (sigaltstack(&stack, NULL) != 0) abort();
  all_signals(0, 0, 0);
  all_signals(SA_ONSTACK, 0, 0);
  all_signals(SA_ONSTACK, SA_ONSTACK, 0);
  all_signals(0, SA_ONSTACK, 0);
  all_signals(SA_ONSTACK, SA_ONSTACK, SA_ONSTACK);
  all_signals(0, 0, SA_ONSTACK);
  return NULL;
}

int main(void) {
  with_all_kinds_of_stack(malloc(1 << 17));  // on the heap: below the main stack, above or below others
  static char in_data[1 << 17];
  with_all_kinds_of_stack(in_data);
  pthread_t thread;
  if (pthread_create(&thread, NULL, with_all_kinds_of_stack, malloc(1 << 17)) != 0) abort();
  pthread_join(thread, NULL);
  return g_handled > 100 ? 0 : 1;
}
