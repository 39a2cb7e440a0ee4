/* A module that allocates; scripts/bench makes as many copies as one_more opens. */
#include <stdlib.h>

void* allocate(size_t size) {
  void* block = malloc(size);
  __asm__ volatile("" : "+r"(block)); /* no tail call: the module is on the stack */
  return block;
}
