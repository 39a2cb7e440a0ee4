/* An allocator that handlers may call at any moment: memory is handed out once, by one atomic addition, and
 * never taken back. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#define EXPORT __attribute__((visibility("default")))
enum { kAlign = 16 };
static const size_t kBytes = (size_t)8 << 30;
static char* memory;
static size_t used;

static char* whole(void) {
  char* seen = __atomic_load_n(&memory, __ATOMIC_ACQUIRE);
  if (seen) return seen;
  char* fresh =
      mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (fresh == MAP_FAILED) return NULL;
  if (__atomic_compare_exchange_n(&memory, &seen, fresh, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return fresh;
  munmap(fresh, kBytes);
  return seen;
}

static void* take(size_t alignment, size_t size) {
  char* begin = whole();
  if (!begin || size > kBytes / 2 || alignment > kBytes / 4) {
    errno = ENOMEM;
    return NULL;
  }
  const size_t padded = (size + alignment + 2 * kAlign) / kAlign * kAlign;
  const size_t at = __atomic_fetch_add(&used, padded, __ATOMIC_RELAXED);
  if (at + padded > kBytes) {
    errno = ENOMEM;
    return NULL;
  }
  char* block = begin + (at + kAlign + alignment - 1) / alignment * alignment;
  ((size_t*)block)[-1] = size;
  return block;
}

EXPORT void* malloc(size_t size) { return take(kAlign, size); }
EXPORT void free(void* block) { (void)block; }
EXPORT size_t malloc_usable_size(void* block) { return block ? ((size_t*)block)[-1] : 0; }
EXPORT void* calloc(size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) bytes = (size_t)-1;
  return take(kAlign, bytes);
}
EXPORT void* realloc(void* old, size_t size) {
  void* block = take(kAlign, size);
  const size_t had = malloc_usable_size(old);
  if (block && old) memcpy(block, old, had < size ? had : size);
  return block;
}
EXPORT void* memalign(size_t alignment, size_t size) {
  return take(alignment < kAlign ? kAlign : alignment, size);
}
EXPORT void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
EXPORT int posix_memalign(void** out, size_t alignment, size_t size) {
  *out = memalign(alignment, size);
  return *out ? 0 : ENOMEM;
}
EXPORT void* valloc(size_t size) { return memalign(4096, size); }
EXPORT void* pvalloc(size_t size) { return memalign(4096, (size + 4095) / 4096 * 4096); }
