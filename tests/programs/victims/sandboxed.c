/* Allows itself, once it has started, no system call but those that its own allocator makes, to write and to
 * end; then allocates from all kinds of stacks. Anything else kills it. */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include "tests/programs/victims/truth.h"
#include "tests/support/filter.h"

static void enter_sandbox(void) {
  struct sock_filter lines[] = {
      CALL_NUMBER,
      ALLOW(brk),
      ALLOW(mmap),
      ALLOW(munmap),
      ALLOW(mremap),
      ALLOW(madvise),
      ALLOW(mprotect),
      ALLOW(futex),
      ALLOW(write),
      ALLOW(rt_sigreturn),
      ALLOW(exit),
      ALLOW(exit_group),
      OTHERWISE(SECCOMP_RET_KILL_PROCESS),
  };
  const struct sock_fprog filter = FILTER(lines);
  REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
}

static void* held[1000];

static void allocate_many(void) {
  for (int turn = 0; turn < 20; ++turn) {
    for (int i = 0; i < 1000; ++i) held[i] = malloc((size_t)(16 + 997 * i % 60000));
    for (int i = 0; i < 1000; ++i) free(held[i]);
  }
}

static void on_fault(int signal) {
  (void)signal;
  free(malloc(50));
}

static pthread_mutex_t started = PTHREAD_MUTEX_INITIALIZER;

static void* in_thread(void* argument) {
  pthread_mutex_lock(&started);
  allocate_many();
  pthread_mutex_unlock(&started);
  return argument;
}

int main(void) {
  static char alternate[1 << 16];
  const stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
  REQUIRE(sigaltstack(&stack, NULL) == 0);
  struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK};
  REQUIRE(sigaction(SIGTRAP, &action, NULL) == 0);
  pthread_t thread;
  pthread_mutex_lock(&started);
  REQUIRE(pthread_create(&thread, NULL, in_thread, NULL) == 0);
  free(malloc(10)); /* the first of this thread */
  enter_sandbox();
  allocate_many();
  __asm__ volatile("int3");
  pthread_mutex_unlock(&started);
  pthread_join(thread, NULL);
  say("alive\n");
  _exit(0);
}
