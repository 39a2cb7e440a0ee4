// The real functions: the next implementation of each hooked function in link order, and where memory comes
// from while they are being found.
//
// Called by: every hook (hot: one load and an indirect call). The table starts with stand-ins that find the
// real functions on first use, so hooks work before any constructor ran (P7); it is read-only once complete.
// Threads: several may resolve at once, each stores the same values.
#pragma once

#include <signal.h>

#include <cstddef>
#include <cstdint>

namespace memtrace {

#ifndef __USE_GNU
using sighandler_t = void (*)(int);
#endif

struct alignas(4096) RealFunctions {
#define MEMTRACE_HOOK(name, result, parameters, kind) result(*name) parameters;
#include "preload/hooked_functions.inc"
#undef MEMTRACE_HOOK
  // calloc and realloc may call malloc or free by name, so that their inner calls come to our hooks.
  bool nest = true;
};

// Hidden where it is declared, too: else each hook asks the offset table where it is.
extern constinit RealFunctions g_real [[gnu::visibility("hidden")]];

namespace real {

// Finds all of them. Idempotent; uses dlsym, which may call back into our hooks: those calls are served by
// the bootstrap buffer below.
void resolve();

// After resolve(), once: glibc's calloc and realloc are known not to nest. Trying it out would leave the
// heap, and the program's addresses, other than they were.
void look_for_nesting();

// After that, once: makes the table read-only.
void seal();

// The real one, with four more arguments whatever the option takes: as libc's own does.
int prctl(int option, __builtin_va_list arguments);

// An address inside the allocator below us, once resolved.
[[nodiscard]] std::uintptr_t allocator_code();

// Blocks handed out while dlsym was at work. They may come back to free, realloc or malloc_usable_size at any
// time: the live table's filter says "maybe" to them for ever, so that free need not ask for every block.
inline constexpr std::size_t kBootstrapBytes = 64 * 1024;
extern constinit char g_bootstrap[kBootstrapBytes] [[gnu::visibility("hidden")]];
[[nodiscard, gnu::always_inline]] inline bool is_bootstrap(const void* block) {
  return reinterpret_cast<std::uintptr_t>(block) - reinterpret_cast<std::uintptr_t>(g_bootstrap) <
         kBootstrapBytes;
}
[[nodiscard]] std::size_t bootstrap_size(const void* block);
// From here on the buffer gives nothing. Returns how much of it was handed out.
std::size_t close_bootstrap();

}  // namespace real
}  // namespace memtrace
