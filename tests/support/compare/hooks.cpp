// The allocation functions of libcompare_unwinders.so. Compiled with rbp fixed, as the shim's hooks are, so
// that what is compared starts with what the shim would start with.
//
//   COMPARE_EVERY=N     compares the stack of every N-th allocation (1)
//   COMPARE_CALLS=1     ... of calls of compare_stack_here() instead, for places that cannot allocate
//   COMPARE_DIR=DIR     where the totals go when the program exits
#include <stdlib.h>

#include "preload/in_hook.hpp"
#include "preload/real.hpp"
#include "tests/support/compare/compare.hpp"
#include "tests/support/compare/report.hpp"

using namespace memtrace;

namespace {

constinit std::atomic<bool> g_started{false};
constinit std::atomic<std::uint64_t> g_seen{0};
constinit std::uint64_t g_every = 1;
constinit bool g_calls_only = false;

[[gnu::always_inline]] inline const void* frame_pointer() {
  const void* rbp;
  asm("mov %%rbp, %0" : "=r"(rbp));
  return rbp;
}

[[gnu::always_inline]] inline void called(Caller caller) {
  const InHook hook;
  if (hook.entered() && g_seen.fetch_add(1, std::memory_order_relaxed) % g_every == 0)
    compare::stack_of(caller);
}

[[gnu::always_inline]] inline void allocated(Caller caller) {
  if (g_started.load(std::memory_order_relaxed) && !g_calls_only) called(caller);
}

}  // namespace

#define CALLER (Caller{__builtin_dwarf_cfa(), frame_pointer()})

#pragma GCC visibility push(default)
extern "C" {

void* malloc(std::size_t size) {
  void* block = g_real.malloc(size);
  allocated(CALLER);
  return block;
}

void* calloc(std::size_t count, std::size_t size) {
  void* block = g_real.calloc(count, size);
  allocated(CALLER);
  return block;
}

void* realloc(void* old, std::size_t size) {
  void* block;
  if (real::is_bootstrap(old)) {
    block = g_real.malloc(size);
    const std::size_t had = real::bootstrap_size(old);
    if (block) __builtin_memcpy(block, old, had < size ? had : size);
  } else {
    block = g_real.realloc(old, size);
  }
  allocated(CALLER);
  return block;
}

void compare_stack_here() {
  if (g_started.load(std::memory_order_relaxed)) called(CALLER);
}

void free(void* block) {
  if (!real::is_bootstrap(block)) g_real.free(block);
}

}  // extern "C"
#pragma GCC visibility pop

[[gnu::constructor]] static void begin() {
  const InHook hook;
  real::resolve();
  if (const char* every = getenv("COMPARE_EVERY")) g_every = strtoull(every, nullptr, 10);
  if (g_every == 0) g_every = 1;
  g_calls_only = getenv("COMPARE_CALLS") != nullptr;
  if (compare::start()) g_started.store(true);
}

[[gnu::destructor]] static void end() {
  const InHook hook;
  if (g_started.load()) compare::report(getenv("COMPARE_DIR"));
}
