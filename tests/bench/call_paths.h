/* 2^LEVELS call paths to one malloc: bit `level` of `which` chooses between two call sites. */
#pragma once

#include <stdlib.h>

__attribute__((noinline)) static void* path(unsigned which, int level, size_t size) {
  void* block;
  if (level == 0) {
    block = malloc(size);
  } else if ((which >> (level - 1)) & 1) {
    block = path(which, level - 1, size + 8);
  } else {
    block = path(which, level - 1, size);
  }
  __asm__ volatile("" : "+r"(block)); /* no tail call, and malloc is not known to be pure */
  return block;
}
