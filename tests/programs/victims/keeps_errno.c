/* A successful malloc or free leaves errno alone, recorded or not. Also says where its blocks lie. */
#include <malloc.h>
#include <stdint.h>

#include "tests/programs/victims/truth.h"

int main(void) {
  enum { kBlocks = 5000 };
  static void* blocks[kBlocks];
  uint64_t places = 14695981039346656037u;
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < kBlocks; ++i) {
      errno = i + 1000;
      const size_t size = (size_t)(i * 7 % 3000);
      switch (i % 5) {
        case 0:
          blocks[i] = malloc(size);
          break;
        case 1:
          blocks[i] = calloc(size, 1);
          break;
        case 2:
          blocks[i] = realloc(NULL, size + 1);
          break;
        case 3:
          blocks[i] = memalign(64, size);
          break;
        default:
          REQUIRE(posix_memalign(&blocks[i], 128, size) == 0);
      }
      REQUIRE(errno == i + 1000);
      places = (places ^ (uintptr_t)blocks[i] ^ malloc_usable_size(blocks[i])) * 1099511628211u;
    }
    for (int i = 0; i < kBlocks; ++i) {
      errno = i + 2000;
      free(blocks[(i * 7) % kBlocks]);
      REQUIRE(errno == i + 2000);
    }
  }
  const struct mallinfo2 info = mallinfo2();
  printf("%llx %zu %zu %zu\n", (unsigned long long)places, info.arena, info.uordblks, info.hblks);
  return 0;
}
