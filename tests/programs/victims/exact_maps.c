/* The mmap family: what is split, moved, overlaid, refused or made over reservations; the truth after each
 * step. A mapping counts its pages, and 1 until its last page goes. */
#include <fcntl.h>
#include <sys/mman.h>

#include "tests/programs/victims/truth.h"

#define PAGE ((size_t)4096)
static const int kBoth = PROT_READ | PROT_WRITE;
static const int kPrivate = MAP_PRIVATE | MAP_ANONYMOUS;

static char* checked(void* address) {
  REQUIRE(address != MAP_FAILED);
  return address;
}

/* A call site each; the mapping's pages are counted by its caller, below. */
#define MAPPER(name, call)                                                               \
  static inline struct site* name##_site(void) {                                         \
    static struct site site = {#name, 0, 0, NULL, 0};                                    \
    return &site;                                                                        \
  }                                                                                      \
  static NOINLINE char* name(void* at, size_t size, int protection, int flags, int fd) { \
    return checked(call(at, size, protection, flags, fd, 0));                            \
  }
MAPPER(for_splitting, mmap)
MAPPER(for_moving, mmap64)
MAPPER(for_overlaying, mmap)
MAPPER(overlay, mmap)
MAPPER(reservation, mmap)
MAPPER(in_reservation, mmap64)
MAPPER(uncounted, mmap)
MAPPER(neighbour, mmap)

static void pages(struct site* site, long long count, long long mappings) {
  change(site, count * (long long)PAGE, mappings);
}

static struct site* mover_site(void) {
  static struct site site = {"move", 0, 0, NULL, 0};
  return &site;
}
static NOINLINE char* move(char* old, size_t old_size, size_t size, int flags, char* where) {
  return checked(mremap(old, old_size, size, flags, where));
}

static void split(void) {
  char* p = for_splitting(NULL, 10 * PAGE - 100, kBoth, kPrivate, -1);
  pages(for_splitting_site(), 10, 1);
  REQUIRE(munmap(p + 2 * PAGE, PAGE) == 0); /* 0-1, 3-9 */
  REQUIRE(munmap(p + 5 * PAGE, 1) == 0);    /* 3-4, 6-9 */
  REQUIRE(munmap(p + 9 * PAGE, PAGE) == 0); /* 6-8 */
  pages(for_splitting_site(), -3, 0);
  report("split");
  errno = 0;
  REQUIRE(munmap(p + 1, PAGE) == -1 && errno == EINVAL); /* refused: all stays */
  REQUIRE(munmap(p, 0) == -1);
  REQUIRE(munmap(p, (size_t)-PAGE) == -1);
  REQUIRE(mmap(p, PAGE, kBoth, MAP_PRIVATE | MAP_FIXED, -1, 0) == MAP_FAILED); /* EBADF, before unmapping */
  REQUIRE(mmap(p + 1, PAGE, kBoth, kPrivate | MAP_FIXED, -1, 0) == MAP_FAILED);
  report("refused");
  REQUIRE(munmap(p, 9 * PAGE) == 0); /* over the holes: the last page goes */
  pages(for_splitting_site(), -7, -1);
  report("gone");
}

static void overlays(void) {
  char* p = for_overlaying(NULL, 16 * PAGE, kBoth, kPrivate, -1);
  pages(for_overlaying_site(), 16, 1);
  REQUIRE(overlay(p + 4 * PAGE, 4 * PAGE, kBoth, kPrivate | MAP_FIXED, -1) == p + 4 * PAGE);
  pages(for_overlaying_site(), -4, 0);
  pages(overlay_site(), 4, 1);
  report("overlaid");
  REQUIRE(overlay(p, 16 * PAGE, kBoth, kPrivate | MAP_FIXED, -1) == p); /* both disappear under it */
  pages(for_overlaying_site(), -12, -1);
  pages(overlay_site(), 12, 0);
  report("buried");
  REQUIRE(mmap(p, PAGE, kBoth, kPrivate | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED);
  REQUIRE(munmap(p, 16 * PAGE) == 0);
  pages(overlay_site(), -16, -1);
}

static void reservations(void) {
  char* p = reservation(NULL, 1000 * PAGE, PROT_NONE, kPrivate | MAP_NORESERVE, -1);
  (void)in_reservation(p + 10 * PAGE, 20 * PAGE, kBoth, kPrivate | MAP_FIXED, -1);
  pages(in_reservation_site(), 20, 1);
  (void)in_reservation(p + 100 * PAGE, 5 * PAGE, PROT_READ, kPrivate | MAP_FIXED, -1);
  pages(in_reservation_site(), 5, 1);
  (void)reservation(p + 15 * PAGE, 5 * PAGE, PROT_NONE, kPrivate | MAP_FIXED, -1); /* given back to it */
  pages(in_reservation_site(), -5, 0);
  /* Files and shared memory are not the program's own memory. */
  const int fd = open("/proc/self/exe", O_RDONLY);
  REQUIRE(fd >= 0);
  (void)uncounted(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd);
  (void)uncounted(NULL, 3 * PAGE, kBoth, MAP_SHARED | MAP_ANONYMOUS, -1);
  (void)uncounted(p + 11 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd);
  pages(in_reservation_site(), -1, 0);
  close(fd);
  report("reserved");
  REQUIRE(munmap(p, 1000 * PAGE) == 0);
  pages(in_reservation_site(), -19, -2);
}

static void moves(void) {
  char* p = for_moving(NULL, 4 * PAGE, kBoth, kPrivate, -1);
  pages(for_moving_site(), 4, 1);
  p = move(p, 4 * PAGE, 2 * PAGE, 0, NULL); /* shrinks in place, and belongs to its caller from then on */
  pages(for_moving_site(), -4, -1);
  pages(mover_site(), 2, 1);
  report("shrunk");

  char* wall = neighbour(p + 2 * PAGE, PAGE, kBoth, kPrivate | MAP_FIXED, -1); /* leaves no room to grow */
  pages(neighbour_site(), 1, 1);
  REQUIRE(mremap(p, 2 * PAGE, 8 * PAGE, 0) == MAP_FAILED && errno == ENOMEM);
  REQUIRE(mremap(p + 1, 2 * PAGE, PAGE, 0) == MAP_FAILED);
  REQUIRE(mremap(p, 2 * PAGE, 0, MREMAP_MAYMOVE) == MAP_FAILED);
  report("stuck");
  p = move(p, 2 * PAGE, 8 * PAGE, MREMAP_MAYMOVE, NULL);
  pages(mover_site(), 6, 0);
  report("moved");

  char* target = neighbour(NULL, 12 * PAGE, kBoth, kPrivate, -1);
  pages(neighbour_site(), 12, 1);
  p = move(p, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target + 2 * PAGE);
  REQUIRE(p == target + 2 * PAGE);
  pages(neighbour_site(), -8, 0); /* 2 pages before, 2 behind */
  report("moved.onto.another");

  char* twin = move(p, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
  pages(mover_site(), 8, 1); /* the old pages stay, empty, and stay whose they were */
  report("doubled");
  REQUIRE(munmap(twin, 8 * PAGE) == 0);
  REQUIRE(munmap(target, 12 * PAGE) == 0);
  REQUIRE(munmap(wall, PAGE) == 0);
  pages(mover_site(), -16, -2);
  pages(neighbour_site(), -5, -2);

  p = for_moving(NULL, 6 * PAGE, kBoth, kPrivate, -1);
  pages(for_moving_site(), 6, 1);
  char* part = move(p + 2 * PAGE, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE, NULL); /* a piece out of the middle */
  pages(for_moving_site(), -2, 0);
  pages(mover_site(), 3, 1);
  report("torn");
  REQUIRE(munmap(part, 3 * PAGE) == 0 && munmap(p, 6 * PAGE) == 0);
  pages(for_moving_site(), -4, -1);
  pages(mover_site(), -3, -1);
}

int main(void) {
  split();
  overlays();
  reservations();
  moves();
  report("end");
  return 0;
}
