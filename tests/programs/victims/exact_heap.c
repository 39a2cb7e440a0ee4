/* Every allocating function of the libc, in every way it can succeed or fail; the truth after each phase.
 * usage: exact_heap [WHAT-NOT...]
 *   library    strdup and getline, whose own frame must be stepped over to find the call site
 *   libc       what a malloc library may leave to the libc: pvalloc and cfree
 *   gigabytes  sizes beyond 32 MiB */
#include <dlfcn.h>
#include <malloc.h>
#include <stdint.h>

#include "tests/programs/victims/truth.h"

struct block {
  void* address;
  size_t size;
  struct site* site;
};

static const size_t kSizes[] = {
    0, 1, 15, 16, 17, 24, 31, 100, 511, 1024, 4095, 4096, 65536, 131072, 1000001, 1 << 25, (size_t)1 << 30};
enum { kSizeCount = sizeof kSizes / sizeof *kSizes, kKinds = 13, kMax = kSizeCount * kKinds };

static struct block blocks[kMax];
static size_t block_count;

static void keep(void* address, size_t size, struct site* site) {
  REQUIRE(address != NULL);
  REQUIRE(malloc_usable_size(address) >= size);
  change(site, (long long)size, 1);
  blocks[block_count++] = (struct block){address, size, site};
}

static NOINLINE void by_malloc(size_t n) {
  SITE;
  keep(malloc(n), n, &here);
}
static NOINLINE void by_calloc(size_t n) {
  SITE;
  keep(calloc(n, 1), n, &here);
}
static NOINLINE void by_calloc_of_many(size_t n) {
  SITE;
  keep(calloc(3, n / 3), n / 3 * 3, &here);
}
static NOINLINE void by_realloc(size_t n) {
  SITE;
  keep(realloc(NULL, n), n, &here);
}
static NOINLINE void by_reallocarray(size_t n) {
  SITE;
  keep(reallocarray(NULL, n / 8, 8), n / 8 * 8, &here);
}
static NOINLINE void by_posix_memalign(size_t n) {
  SITE;
  void* p = NULL;
  REQUIRE(posix_memalign(&p, 64, n) == 0);
  REQUIRE((uintptr_t)p % 64 == 0);
  keep(p, n, &here);
}
static NOINLINE void by_aligned_alloc(size_t n) {
  SITE;
  keep(aligned_alloc(256, n), n, &here);
}
static NOINLINE void by_memalign(size_t n) {
  SITE;
  keep(memalign(1 << 16, n), n, &here);
}
static NOINLINE void by_valloc(size_t n) {
  SITE;
  keep(valloc(n), n, &here);
}
static NOINLINE void by_pvalloc(size_t n) {
  SITE;
  keep(pvalloc(n), n, &here);
}
static NOINLINE void by_strdup(size_t n) {
  SITE;
  static char text[4096];
  if (n >= sizeof text) return;
  memset(text, 'x', n);
  text[n] = '\0';
  keep(strdup(text), n + 1, &here);
}
static NOINLINE void by_getline(size_t n) {
  SITE;
  if (n == 0 || n >= 100) return;
  FILE* file = fopen("/dev/null", "r");
  REQUIRE(file != NULL);
  fclose(file); /* the FILE and its buffer come and go */
  char* line = NULL;
  size_t room = 0;
  char text[128];
  memset(text, 'y', n);
  text[n] = '\n';
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  REQUIRE(write(ends[1], text, n + 1) == (ssize_t)(n + 1));
  close(ends[1]);
  file = fdopen(ends[0], "r");
  REQUIRE(getdelim(&line, &room, '\n', file) == (ssize_t)(n + 1));
  fclose(file);
  keep(line, room, &here); /* glibc asks for what it then says is there */
}

/* Resizing: a success belongs to its caller from then on. */
static NOINLINE void resize(struct block* block, size_t n) {
  SITE;
  void* p = realloc(block->address, n);
  REQUIRE(p != NULL);
  change(block->site, -(long long)block->size, -1);
  change(&here, (long long)n, 1);
  *block = (struct block){p, n, &here};
}
static NOINLINE void resize_array(struct block* block, size_t n) {
  SITE;
  void* p = reallocarray(block->address, n, 3);
  REQUIRE(p != NULL);
  change(block->site, -(long long)block->size, -1);
  change(&here, (long long)n * 3, 1);
  *block = (struct block){p, n * 3, &here};
}
static void forget(struct block* block) {
  change(block->site, -(long long)block->size, -1);
  block->address = NULL;
}
static NOINLINE void resize_to_nothing(struct block* block, int as_array) {
  void* p = as_array ? reallocarray(block->address, 0, 8) : realloc(block->address, 0);
  REQUIRE(p == NULL);
  forget(block);
}

/* What fails changes nothing. */
static NOINLINE void fail_everywhere(struct block* block) {
  volatile size_t huge = SIZE_MAX / 2 + 2;
  void* p = NULL;
  volatile size_t three = 3;
  errno = 0;
  REQUIRE(malloc(huge) == NULL && errno == ENOMEM);
  REQUIRE(calloc(huge, three) == NULL && calloc(huge - 2, three) == NULL && calloc(huge, 1) == NULL);
  REQUIRE(realloc(block->address, huge) == NULL);
  REQUIRE(reallocarray(block->address, huge - 2, three) == NULL);
  REQUIRE(reallocarray(block->address, huge, 1) == NULL);
  REQUIRE(realloc(NULL, huge) == NULL && reallocarray(NULL, huge, three) == NULL);
  REQUIRE(posix_memalign(&p, three, 10) == EINVAL && posix_memalign(&p, 64, huge) == ENOMEM && p == NULL);
  REQUIRE(aligned_alloc(64, huge) == NULL && memalign(64, huge) == NULL);
  REQUIRE(valloc(huge) == NULL);
}

static void release(size_t i, void (*cfree)(void*)) {
  if (!blocks[i].address) return;
  void* p = blocks[i].address;
  forget(&blocks[i]);
  if (cfree && i % 3 == 0) {
    cfree(p);
  } else {
    free(p);
  }
}

static int wanted(const char* what, int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], what) == 0) return 0;
  }
  return 1;
}

int main(int argc, char** argv) {
  const int library = wanted("library", argc, argv);
  const int libc = wanted("libc", argc, argv);
  const int gigabytes = wanted("gigabytes", argc, argv);
  void (*cfree)(void*) = NULL;
  void* symbol = dlsym(RTLD_DEFAULT, "cfree"); /* glibc 2.26 and later hide it; the shim has it */
  if (libc) memcpy(&cfree, &symbol, sizeof symbol);

  for (int i = 0; i < kSizeCount; ++i) {
    const size_t n = kSizes[i];
    if (n > 1 << 25 && !gigabytes) continue;
    by_malloc(n);
    by_calloc(n);
    by_calloc_of_many(n);
    by_realloc(n);
    by_reallocarray(n);
    by_posix_memalign(n);
    by_aligned_alloc(n);
    by_memalign(n);
    by_valloc(n);
    if (libc) by_pvalloc(n);
    if (library) by_strdup(n);
    if (library) by_getline(n);
  }
  report("grown");

  for (size_t i = 0; i < block_count; ++i) {
    struct block* block = &blocks[i];
    fail_everywhere(block);
    switch (i % 7) {
      case 0:
        resize(block, block->size + 1); /* in place, mostly */
        break;
      case 1:
        resize(block, block->size * 2 + 4096); /* moving */
        break;
      case 2:
        resize(block, block->size / 2 + 1);
        break;
      case 3:
        resize_array(block, block->size / 2 + 1);
        break;
      case 4:
        resize_to_nothing(block, i % 2 == 0);
        break;
      case 5:
        release(i, cfree);
        break;
      default:
        break;
    }
  }
  free(NULL);
  report("changed");

  for (size_t i = 0; i < block_count; ++i) release(i, cfree);
  report("emptied");
  return 0;
}
