/* A service that must not notice anything: holds 100 blocks of 777 bytes, and a second thread that never
 * stops allocating. Answers every line by what it can see of itself; what a block holds is written, and
 * checked later. usage: steady_host [SMALL]     SMALL: so many blocks of 16 bytes, too */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>

#include "tests/programs/victims/truth.h"

enum { kBlocks = 100, kBlockBytes = 777, kBusyBlocks = 64 };

static unsigned char* blocks[kBlocks];
static int stop;

static NOINLINE void hold(int i) {
  blocks[i] = malloc(kBlockBytes);
  REQUIRE(blocks[i] != NULL);
  memset(blocks[i], i, kBlockBytes);
}

static void fill(unsigned char** slot, unsigned turn) {
  const size_t size = 1000 + turn % 1000;
  *slot = malloc(size);
  REQUIRE(*slot != NULL);
  memset(*slot, (int)(turn & 255), 64);
}

static void* stay_busy(void* argument) {
  unsigned char* busy[kBusyBlocks] = {NULL};
  for (unsigned turn = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); ++turn) {
    unsigned char** slot = &busy[turn % kBusyBlocks];
    if (*slot) REQUIRE((*slot)[0] == (*slot)[63]);
    free(*slot);
    fill(slot, turn);
  }
  for (int i = 0; i < kBusyBlocks; ++i) free(busy[i]);
  return argument;
}

static void say_what_it_sees(unsigned long step) {
  unsigned long sum = 0;
  for (int i = 0; i < kBlocks; ++i) {
    for (int at = 0; at < kBlockBytes; ++at) sum += blocks[i][at];
  }
  sigset_t mask;
  unsigned long blocked = 0;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  for (int number = 1; number < 65; ++number) blocked += (unsigned long)sigismember(&mask, number);
  errno = 0;
  free(malloc(5000));
  const int kept = errno;
  const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  char line[160];
  snprintf(line, sizeof line, "step %lu sum %lu next fd %d blocked %lu errno %d\n", step, sum, fd, blocked,
           kept);
  close(fd);
  say(line);
}

static void* volatile small;

int main(int argc, char** argv) {
  for (int i = argc > 1 ? atoi(argv[1]) : 0; i > 0; --i) small = malloc(16);
  for (int i = 0; i < kBlocks; ++i) hold(i);
  pthread_t thread;
  REQUIRE(pthread_create(&thread, NULL, stay_busy, NULL) == 0);
  say("ready\n");
  unsigned long step = 0;
  for (char c; read(0, &c, 1) == 1;) {
    if (c == '\n') say_what_it_sees(++step);
  }
  __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
  pthread_join(thread, NULL);
  say("end\n");
  return 5;
}
