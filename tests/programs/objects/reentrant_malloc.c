/* A malloc below the shim that may be interrupted anywhere and called again from there, or left by a jump:
 * whatever breaks then is the shim's doing. Slots of 1 KiB, taken by an atomic exchange; what is larger is
 * never used twice. Slots that follow one another lie far apart, as in an old heap. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { kSlot = 1024, kSlots = 1 << 17, kLarge = 64 << 20 };

static unsigned char taken[kSlots];
static _Alignas(kSlot) char slots[kSlots][kSlot];
static unsigned next;
static _Alignas(kSlot) char large[kLarge];
static size_t large_used;

static void* take(size_t size) {
  if (size > kSlot) {
    const size_t whole = kSlot + ((size + kSlot - 1) & ~(size_t)(kSlot - 1)); /* its size first */
    const size_t at = size < kLarge ? __atomic_fetch_add(&large_used, whole, __ATOMIC_RELAXED) : kLarge;
    if (at + whole <= kLarge) {
      memcpy(large + at, &size, sizeof size);
      return large + at + kSlot;
    }
  }
  for (unsigned tries = 0; size <= kSlot && tries < kSlots; ++tries) {
    const unsigned i = __atomic_fetch_add(&next, 4099, __ATOMIC_RELAXED) % kSlots;
    if (!__atomic_load_n(&taken[i], __ATOMIC_RELAXED) && !__atomic_exchange_n(&taken[i], 1, __ATOMIC_ACQ_REL))
      return slots[i];
  }
  errno = ENOMEM;
  return NULL;
}

static int in_slots(const void* block) { return (size_t)((const char*)block - slots[0]) < sizeof slots; }

size_t malloc_usable_size(void* block) {
  size_t size = 0;
  if (block && in_slots(block)) return kSlot;
  if (block) memcpy(&size, (char*)block - kSlot, sizeof size);
  return size;
}
void* malloc(size_t size) { return take(size); }
void free(void* block) {
  if (block && in_slots(block)) {
    __atomic_store_n(&taken[((char*)block - slots[0]) / kSlot], 0, __ATOMIC_RELEASE);
  }
}
void* calloc(size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
  void* block = take(bytes);
  if (block) memset(block, 0, bytes);
  return block;
}
void* realloc(void* old, size_t size) {
  if (!old) return take(size);
  const size_t had = malloc_usable_size(old);
  if (size <= had && (size & 1)) return old; /* in place, now and then */
  void* block = take(size);
  if (block) {
    memcpy(block, old, had < size ? had : size);
    free(old);
  }
  return block;
}
void* memalign(size_t alignment, size_t size) { return alignment <= kSlot ? take(size) : NULL; }
void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void** out, size_t alignment, size_t size) {
  *out = memalign(alignment, size);
  return *out ? 0 : ENOMEM;
}
