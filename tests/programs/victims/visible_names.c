/* Says what a program can see by name: symbols that programs look for to find out which allocator or library
 * they have, as weak references and by dlsym; and all loaded objects. */
#include <dlfcn.h>
#include <link.h>

#include "tests/programs/victims/truth.h"

#define WEAK(name)                       \
  extern int name __attribute__((weak)); \
  static const void* weak_##name(void) { return (const void*)(unsigned long)&name; }
#define NAMES(of)                                                                                          \
  of(mi_malloc) of(mi_version) of(free_sized) of(free_aligned_sized) of(tc_malloc)                         \
      of(MallocExtension_ReleaseFreeMemory) of(je_malloc) of(mallctl) of(malloc_stats_print) of(sdallocx)  \
          of(rallocx) of(scalable_malloc) of(ZSTD_compress) of(ZSTD_versionNumber) of(ZSTD_createCCtx)     \
              of(XXH64) of(unw_backtrace) of(_Unwind_Backtrace) of(_Unwind_RaiseException) of(__cxa_throw) \
                  of(__register_frame) of(heaptrack_init) of(HeapProfilerStart) of(__asan_init)            \
                      of(__libc_malloc) of(sigvec)
NAMES(WEAK)

static int say_object(struct dl_phdr_info* info, size_t size, void* unused) {
  (void)size;
  (void)unused;
  const char* slash = strrchr(info->dlpi_name, '/');
  say("object ");
  say(slash ? slash + 1 : info->dlpi_name);
  say("\n");
  return 0;
}

int main(void) {
#define SAY(name)                                     \
  say(#name);                                         \
  say(weak_##name() ? " is there" : " is not there"); \
  say(dlsym(RTLD_DEFAULT, #name) ? " and found\n" : "\n");
  NAMES(SAY)
  dl_iterate_phdr(say_object, NULL);
  return 0;
}
