// libunwind's unw_backtrace. Opened at run time and never linked: preloaded through DT_NEEDED it would take
// over the C++ exceptions of hosts that load C++ later. It keeps two pipe fds, makes system calls and needs
// 10 KiB of stack while it captures: the laws on those bind the compiled unwinder, not this one.
#include <dlfcn.h>

#include "preload/sys/old_symbols.hpp"
#include "preload/unwind/unwinder.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

using Backtrace = int (*)(void** frames, int room);
constinit Backtrace g_backtrace = nullptr;

Captured capture_by_libunwind(Caller caller, ReturnAddress* frames, std::size_t room) {
  const int got = g_backtrace(reinterpret_cast<void**>(frames), static_cast<int>(room));
  return cut_own_frames(caller, frames, got > 0 ? static_cast<std::size_t>(got) : 0);
}

}  // namespace

CaptureFunction open_libunwind() {
  void* library = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);
  if (!library) return nullptr;
  void* symbol = dlsym(library, "unw_backtrace");
  if (!symbol) return nullptr;
  __builtin_memcpy(&g_backtrace, &symbol, sizeof symbol);
  // Its shared cache of unwind rules has a lock, held while it waits for the loader's: with it, a thread that
  // allocates inside dlopen and one that unwinds stop each other for ever, and a forked child may find it
  // locked by nobody. The frames that matter are cached per thread besides; Debian's build has no per-thread
  // variant of this one.
  using SetPolicy = int (*)(void* address_space, int policy);
  constexpr int kCacheNone = 0;
  void* set_policy = dlsym(library, "_ULx86_64_set_caching_policy");
  void* address_space = dlsym(library, "_ULx86_64_local_addr_space");
  if (set_policy && address_space) {
    SetPolicy function;
    __builtin_memcpy(&function, &set_policy, sizeof function);
    (void)function(*static_cast<void**>(address_space), kCacheNone);
  }
  void* prime[4];
  (void)g_backtrace(prime, 4);  // what it sets up on first use happens here, not inside somebody's malloc
  return capture_by_libunwind;
}

}  // namespace memtrace
