#include "tests/programs/allocation_count.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

thread_local std::uint64_t this_thread_allocations = 0;
std::atomic<std::uint64_t> all_allocations{0};

}  // namespace

std::uint64_t counted_allocations() { return all_allocations.load(std::memory_order_relaxed); }

void count_this_thread() {
  all_allocations.fetch_add(this_thread_allocations, std::memory_order_relaxed);
  this_thread_allocations = 0;
}

void* operator new(std::size_t size) {
  ++this_thread_allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
