/* Maps, overlays, unmaps and moves pages at random in a part of the address space that nobody else uses; says
 * now and then how many bytes of it /proc/self/maps has for reading and writing. usage: random_maps SEED */
#include <stdint.h>
#include <sys/mman.h>

#include "tests/programs/victims/truth.h"

#define PAGE ((uintptr_t)4096)
enum { kPages = 128 };
static char* const kBegin = (char*)0x100000000000;
static char* const kEnd = (char*)0x100000000000 + kPages * 4096;

static uint64_t state;
static size_t below(size_t bound) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (size_t)(state >> 33) % bound;
}

static unsigned long usable_bytes(void) {
  static char line[8192];
  unsigned long bytes = 0;
  FILE* maps = fopen("/proc/self/maps", "r");
  REQUIRE(maps != NULL);
  while (fgets(line, sizeof line, maps)) {
    unsigned long begin = 0;
    unsigned long end = 0;
    char mode[5];
    REQUIRE(sscanf(line, "%lx-%lx %4s", &begin, &end, mode) == 3);
    if (begin >= (uintptr_t)kBegin && end <= (uintptr_t)kEnd && strcmp(mode, "rw-p") == 0)
      bytes += end - begin;
  }
  fclose(maps);
  return bytes;
}

/* What is where, so that no change spans pages of several kinds: the kernel shortens such a range, and
 * forgets that there were several. */
enum { kHole, kUsable, kReserved };
static unsigned char kinds[kPages];

static void set(size_t at, size_t count, int kind) { memset(kinds + at, kind, count); }
static int of_one_kind(size_t at, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (kinds[at + i] != kinds[at]) return 0;
  }
  return 1;
}

static void change_something(void) {
  const size_t at = below(kPages);
  const size_t most = kPages - at < 24 ? kPages - at : 24;
  const size_t count = 1 + below(most);
  char* page = kBegin + at * PAGE;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
  switch (below(8)) {
    case 0:
    case 1:
      REQUIRE(mmap(page, count * PAGE - below(100), PROT_READ | PROT_WRITE, flags, -1, 0) == page);
      set(at, count, kUsable);
      break;
    case 2:
      REQUIRE(mmap(page, count * PAGE, PROT_NONE, flags, -1, 0) == page);
      set(at, count, kReserved);
      break;
    case 3:
    case 4:
      REQUIRE(munmap(page, count * PAGE) == 0);
      set(at, count, kHole);
      break;
    case 5: { /* where it is, if there is room: refused or not */
      const size_t size = 1 + below(most);
      if (!of_one_kind(at, count)) break;
      if (mremap(page, count * PAGE, size * PAGE, 0) == MAP_FAILED) break;
      if (size > count) set(at, size, kinds[at]);
      if (size < count) set(at + size, count - size, kHole);
      break;
    }
    default: { /* to another place; refused or not */
      const size_t to = below(kPages);
      const size_t size = 1 + below(kPages - to < 24 ? kPages - to : 24);
      if (!of_one_kind(at, count) || (to < at + count && at < to + size)) break;
      const int kind = kinds[at];
      char* where = kBegin + to * PAGE;
      if (mremap(page, count * PAGE, size * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, where) == MAP_FAILED) break;
      set(at, count, kHole);
      set(to, size, kind);
    }
  }
}

int main(int count, char** arguments) {
  REQUIRE(count == 2);
  state = strtoull(arguments[1], NULL, 10);
  for (int turn = 0; turn < 20; ++turn) {
    for (int i = 0; i < 200; ++i) change_something();
    char line[64];
    snprintf(line, sizeof line, "usable %lu\n", usable_bytes());
    say(line);
    REQUIRE(memtrace_snapshot(NULL, NULL, 0) == 0);
  }
  return 0;
}
