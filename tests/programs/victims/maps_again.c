/* Takes pages out of a mapping of its own, one by one, and puts others back where they were, as programs do
 * that manage their address space by themselves: nobody else may have settled there meanwhile. usage:
 * maps_again pieces|snapshots */
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "tests/programs/victims/truth.h"

#define PAGE ((size_t)4096)
static const size_t kHole = (size_t)256 << 20;
static const size_t kPieces = (size_t)4096; /* each second page of them is taken out */

static char* map_at(char* where, size_t size, int flags) {
  return mmap(where, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1,
              0);
}

static void put_back(char* where, size_t size) { REQUIRE(map_at(where, size, MAP_FIXED_NOREPLACE) == where); }

/* As many fragments as make the tables grow. */
static void in_pieces(char* hole, char* pieces) {
  REQUIRE(munmap(hole, kHole) == 0);
  for (size_t i = 0; i < kPieces; i += 2) REQUIRE(munmap(pieces + i * PAGE, PAGE) == 0);
  put_back(hole, kHole);
  for (size_t i = 0; i < kPieces; i += 2) put_back(pieces + i * PAGE, PAGE);
}

static volatile sig_atomic_t over;
static void end(int sig) {
  (void)sig;
  over = 1;
}

/* While snapshots are taken, until it is told to end. */
static void all_the_time(char* hole) {
  REQUIRE(munmap(hole, kHole) == 0);
  signal(SIGTERM, end);
  say("ready\n");
  while (!over) {
    for (volatile int i = 0; i < 10000; ++i) { /* open for most of the time */
    }
    put_back(hole, kHole);
    REQUIRE(munmap(hole, kHole) == 0);
  }
}

/* Whoever asks for pages from now on would be given the hole: the kernel takes the highest place that fits.
 * By system calls, so that nobody counts these. */
static void fill_above(const char* hole) {
  for (size_t size = kHole; size >= PAGE; size /= 2) {
    long at = 0;
    do {
      at = syscall(SYS_mmap, NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      REQUIRE(at != -1);
    } while ((const char*)at > hole);
    REQUIRE(syscall(SYS_munmap, at, size) == 0);
  }
}

int main(int argc, char** argv) {
  char* hole = map_at(NULL, kHole + kPieces * PAGE, 0);
  REQUIRE(argc == 2 && hole != MAP_FAILED);
  fill_above(hole);
  if (strcmp(argv[1], "pieces") == 0) {
    in_pieces(hole, hole + kHole);
  } else {
    all_the_time(hole);
  }
  return 0;
}
