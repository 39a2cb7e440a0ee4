/* A library between the shim and libc whose calloc and realloc call malloc and free by their public names, as
 * some allocators do: each inner call comes back to the shim. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

__attribute__((visibility("default"))) void* calloc(size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
  void* block = malloc(bytes);
  if (block) memset(block, 0, bytes);
  return block;
}

__attribute__((visibility("default"))) void* realloc(void* old, size_t size) {
  if (!old) return malloc(size);
  if (size == 0) {
    free(old);
    return NULL;
  }
  void* block = malloc(size);
  if (!block) return NULL;
  const size_t had = malloc_usable_size(old);
  memcpy(block, old, had < size ? had : size);
  free(old);
  return block;
}
