// The heap of this program, replaced to count calls: between a CountCalls and its end each one of any thread.
//
// For tests of P1; include it in one file of a program. Sanitizers bring their own heap: not for their
// builds.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstdlib>

namespace memtrace::test {

inline std::atomic<bool> g_counting{false};
inline std::atomic<int> g_allocations{0};
inline std::atomic<int> g_frees{0};

class CountCalls {
 public:
  CountCalls() {
    g_allocations = g_frees = 0;
    g_counting = true;
  }
  ~CountCalls() { g_counting = false; }
  CountCalls(const CountCalls&) = delete;
  CountCalls& operator=(const CountCalls&) = delete;
};

// Of the last count.
inline int allocations() { return g_allocations; }
inline int heap_calls() { return g_allocations + g_frees; }

}  // namespace memtrace::test

extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* block, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
void __libc_free(void* block);

void* malloc(std::size_t size) {
  memtrace::test::g_allocations += memtrace::test::g_counting;
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  memtrace::test::g_allocations += memtrace::test::g_counting;
  return __libc_calloc(count, size);
}
void* realloc(void* block, std::size_t size) {
  memtrace::test::g_allocations += memtrace::test::g_counting;
  return __libc_realloc(block, size);
}
void free(void* block) {
  memtrace::test::g_frees += memtrace::test::g_counting;
  __libc_free(block);
}
void* memalign(std::size_t alignment, std::size_t size) {
  memtrace::test::g_allocations += memtrace::test::g_counting;
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) { return memalign(alignment, size); }
int posix_memalign(void** block, std::size_t alignment, std::size_t size) {
  *block = memalign(alignment, size);
  return *block == nullptr ? ENOMEM : 0;
}
}
