/* Floating-point traps on, an unusual rounding mode, flags raised and not: nothing of it changes, and nothing
 * traps. Allocates through a caller whose stack is 8 bytes off, too. */
#include <fenv.h>

#include "tests/programs/victims/truth.h"

struct state {
  unsigned short x87_control;
  unsigned short x87_status;
  unsigned mxcsr;
};

static struct state state(void) {
  struct state now;
  __asm__ volatile("fnstcw %0\n\tfnstsw %1\n\tstmxcsr %2"
                   : "=m"(now.x87_control), "=m"(now.x87_status), "=m"(now.mxcsr));
  return now;
}

/* Calls function(argument) with a stack pointer that the ABI does not allow. */
static NOINLINE void* misaligned(void* (*function)(size_t), size_t argument) {
  void* result;
  __asm__ volatile(
      "movq %%rsp, %%rbx\n\t"
      "andq $-16, %%rsp\n\t"
      "subq $136, %%rsp\n\t"
      "call *%1\n\t"
      "movq %%rbx, %%rsp"
      : "=a"(result), "+r"(function), "+D"(argument)
      :
      : "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
  return result;
}

static void* by_calloc(size_t size) { return calloc(1, size); }
static void* by_free(size_t address) {
  free((void*)address);
  return NULL;
}

static NOINLINE void keep(void) {
  SITE;
  REQUIRE(malloc(60) != NULL);
  BORN(60);
}

static void allocate_many(void) {
  for (size_t i = 1; i < 20000; ++i) {
    void* blocks[] = {malloc(i % 5000), misaligned(malloc, i % 700), misaligned(by_calloc, i % 300)};
    blocks[0] = realloc(blocks[0], i % 900 + 1);
    free(blocks[0]);
    misaligned(by_free, (size_t)blocks[1]);
    free(blocks[2]);
    if (i % 1000 == 0) keep();
  }
}

int main(void) {
  REQUIRE(fesetround(FE_DOWNWARD) == 0);
  REQUIRE(feraiseexcept(FE_INEXACT) == 0);
  const struct state before = state();
  allocate_many();
  const struct state after = state();
  REQUIRE(memcmp(&before, &after, sizeof before) == 0);
  REQUIRE(feclearexcept(FE_ALL_EXCEPT) == 0);
  REQUIRE(feenableexcept(FE_ALL_EXCEPT) == 0);
  const struct state trapping = state();
  allocate_many();
  report("trapping");
  const struct state last = state();
  REQUIRE(memcmp(&trapping, &last, sizeof last) == 0);
  return 0;
}
