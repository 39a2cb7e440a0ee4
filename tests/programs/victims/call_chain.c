/* Every kind of allocation at the end of a known chain of calls; says "line KIND NUMBER" for each. */
#include <malloc.h>
#include <sys/mman.h>

#include "tests/programs/victims/truth.h"

static char* volatile kept;
static char said[64];
#define AT(kind, call)                                           \
  {                                                              \
    kept = (call);                                               \
    snprintf(said, sizeof said, "line %s %d\n", kind, __LINE__); \
    say(said);                                                   \
  }

static NOINLINE void innermost(void) {
  void* p = NULL;
  AT("malloc", malloc(10))
  AT("calloc", calloc(11, 1))
  AT("realloc", realloc(NULL, 12))
  AT("reallocarray", reallocarray(NULL, 13, 1))
  AT("posix_memalign", (posix_memalign(&p, 64, 14), p))
  AT("aligned_alloc", aligned_alloc(64, 15))
  AT("memalign", memalign(64, 16))
  AT("valloc", valloc(17))
  AT("pvalloc", pvalloc(18))
  AT("mmap", mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
  AT("mmap64", mmap64(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
  AT("mremap", mremap(kept, 8192, 12288, MREMAP_MAYMOVE))
  AT("reserved", mmap(NULL, 16384, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
  AT("shared", mmap(NULL, 20480, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0))
}

static NOINLINE void middle(int depth) {
  if (depth > 0) {
    middle(depth - 1);
  } else {
    innermost();
  }
  kept = NULL;
}

static NOINLINE void outer(void) {
  middle(6);
  kept = NULL;
}

int main(void) {
  outer();
  report(NULL);
  return 0;
}
