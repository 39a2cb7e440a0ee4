/* Asks for a snapshot and ends, at once and in one of the ways that there are, while another thread
 * allocates. usage: ends_mid_snapshot return|exit|_exit|quick_exit|abort|fault|kill|exec|last_thread [ask] */
#include <pthread.h>
#include <signal.h>

#include "tests/programs/victims/truth.h"

static void* volatile kept;

static void* stay_busy(void* argument) {
  for (unsigned turn = 0;; ++turn) {
    void* p = malloc(100 + turn % 5000);
    free(p);
  }
  return argument;
}

static void at_the_end(void) {
  kept = malloc(100);
  free(malloc(200));
  say("handler\n");
}

static int is(const char* how, const char* name) { return strcmp(how, name) == 0; }

int main(int argc, char** argv) {
  REQUIRE(argc >= 2);
  const char* how = argv[1];
  for (int i = 0; i < 1000; ++i) kept = malloc((size_t)(100 + i));
  atexit(at_the_end);
  at_quick_exit(at_the_end);
  pthread_t thread;
  if (!is(how, "last_thread")) REQUIRE(pthread_create(&thread, NULL, stay_busy, NULL) == 0);
  if (argc > 2) raise(SIGUSR2);
  if (is(how, "exit")) exit(11);
  if (is(how, "_exit")) _exit(12);
  if (is(how, "quick_exit")) quick_exit(13);
  if (is(how, "abort")) abort();
  if (is(how, "fault")) *(volatile char*)8 = 1;
  if (is(how, "kill")) raise(SIGKILL);
  if (is(how, "exec")) execl("/bin/sh", "sh", "-c", "echo executed; exit 14", (char*)NULL);
  if (is(how, "last_thread")) pthread_exit(NULL);
  return 15;
}
