/* Allocates on stacks of its own making, and says how much of them the allocations needed at most.
 * usage: small_stacks BYTES     stacks of so many bytes between pages that nobody may touch
 * Prints: "first N" for the first allocation there and "later N" for those after it, in bytes below malloc's
 * caller. */
#include <stdint.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "tests/programs/victims/truth.h"

enum { kPage = 4096, kPaint = 0x5a };

static ucontext_t main_context;
static ucontext_t own_context;
static char* stack_low;
static size_t needed[2];

static size_t untouched(void) {
  size_t bytes = 0;
  while (stack_low[bytes] == kPaint) ++bytes;
  return bytes;
}

/* A frame apart, so that what it leaves below the caller is the callee's. */
__attribute__((noipa)) static void allocate(size_t round) {
  const char* here = __builtin_frame_address(0);
  memset(stack_low, kPaint, (size_t)((char*)__builtin_frame_address(0) - stack_low) - 256);
  void* block = malloc(100 + round);
  const size_t used = (size_t)(here - stack_low) - untouched();
  size_t* most = &needed[round != 0];
  if (used > *most) *most = used;
  free(block);
}

static void run(void) {
  for (size_t round = 0; round < 100; ++round) allocate(round);
}

int main(int count, char** arguments) {
  REQUIRE(count == 2);
  const size_t bytes = strtoul(arguments[1], NULL, 10);
  const size_t pages = (bytes + kPage - 1) / kPage;
  char* area = mmap(NULL, (pages + 2) * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(area != MAP_FAILED);
  REQUIRE(mprotect(area + kPage, pages * kPage, PROT_READ | PROT_WRITE) == 0);
  stack_low = area + kPage;
  free(malloc(10)); /* the loader binds these names on a stack that has room for it */
  REQUIRE(getcontext(&own_context) == 0);
  own_context.uc_stack.ss_sp = stack_low;
  own_context.uc_stack.ss_size = bytes;
  own_context.uc_link = &main_context;
  makecontext(&own_context, run, 0);
  REQUIRE(swapcontext(&main_context, &own_context) == 0);
  char line[128];
  snprintf(line, sizeof line, "first %zu\nlater %zu\n", needed[0], needed[1]);
  say(line);
  return 0;
}
