// Boost.Stacktrace's safe_dump_to, for platforms whose rules the compiled unwinder cannot read, and as an
// oracle. It needs libgcc's unwinder, which the shim must not link: it is an object of its own beside the
// shim, opened when chosen.
#include <dlfcn.h>

#include "preload/sys/old_symbols.hpp"
#include "preload/unwind/boost_backtrace.hpp"
#include "preload/unwind/unwinder.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

constinit BoostBacktrace g_backtrace = nullptr;

Captured capture_by_boost(Caller caller, ReturnAddress* frames, std::size_t room) {
  return cut_own_frames(caller, frames, g_backtrace(reinterpret_cast<const void**>(frames), room));
}

// Beside the file that this code was loaded from.
void* open_library() {
  Dl_info ours{};
  if (dladdr(reinterpret_cast<const void*>(&open_boost), &ours) == 0 || !ours.dli_fname) return nullptr;
  constexpr char kName[] = "libmemtrace-boost.so";
  char path[4096];
  std::size_t directory = 0;
  std::size_t size = 0;
  for (; ours.dli_fname[size] != '\0'; ++size) {
    if (size + sizeof kName >= sizeof path) return nullptr;
    path[size] = ours.dli_fname[size];
    if (path[size] == '/') directory = size + 1;
  }
  __builtin_memcpy(path + directory, kName, sizeof kName);
  return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

}  // namespace

CaptureFunction open_boost() {
  void* library = open_library();
  if (!library) return nullptr;
  void* symbol = dlsym(library, "memtrace_boost_backtrace");
  if (!symbol) return nullptr;
  __builtin_memcpy(&g_backtrace, &symbol, sizeof symbol);
  const void* prime[4];
  (void)g_backtrace(prime, 4);  // what it sets up on first use happens here, not inside somebody's malloc
  return capture_by_boost;
}

}  // namespace memtrace
