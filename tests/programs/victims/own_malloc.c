/* Brings its own malloc, which knows its own blocks and ends the program at any other. It has no memalign and
 * the like, as many have not. */
#include <stdint.h>

#include "tests/programs/victims/truth.h"

struct header {
  size_t size;
  size_t magic;
};
enum { kArena = 64 << 20, kMagic = 0x5eed };
static _Alignas(16) char arena[kArena];
static size_t used;

static struct header* header_of(void* block) {
  struct header* header = (struct header*)block - 1;
  REQUIRE((char*)block >= arena && (char*)block < arena + kArena && header->magic == kMagic);
  return header;
}

void* malloc(size_t size) {
  const size_t whole = sizeof(struct header) + ((size + 15) & ~(size_t)15);
  if (size > kArena) return NULL;
  const size_t at = __atomic_fetch_add(&used, whole, __ATOMIC_RELAXED);
  if (at + whole > kArena) return NULL;
  struct header* header = (struct header*)(void*)(arena + at);
  *header = (struct header){size, kMagic};
  return header + 1;
}
void free(void* block) {
  if (block) header_of(block)->magic = 0;
}
void* calloc(size_t count, size_t size) { return malloc(count * size); /* never used twice: zero */ }
void* realloc(void* old, size_t size) {
  void* block = malloc(size);
  if (block && old) {
    const size_t had = header_of(old)->size;
    memcpy(block, old, had < size ? had : size);
    free(old);
  }
  return block;
}

int main(void) {
  void* blocks[100];
  for (int i = 0; i < 10000; ++i) {
    void** block = &blocks[i % 100];
    if (i >= 100) free(*block);
    *block = i % 3 ? malloc((size_t)i) : realloc(strdup("text"), (size_t)i + 100);
    REQUIRE(*block != NULL);
  }
  FILE* file = fopen("/proc/self/maps", "r");
  REQUIRE(file != NULL);
  char* line = NULL;
  size_t room = 0;
  while (getline(&line, &room, file) > 0) {
  }
  free(line);
  fclose(file);
  report("end");
  return 0;
}
