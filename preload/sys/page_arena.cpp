#include "preload/sys/page_arena.hpp"

#include "preload/sys/lock_witness.hpp"
#include "preload/sys/syscalls.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {

void* PageArena::take(std::size_t bytes) {
  bytes = round_to_pages(bytes);
  const std::uint64_t used = used_bytes_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  void* pages = nullptr;
  if (used <= cap_bytes_.load(std::memory_order_relaxed)) pages = sys::map_pages(bytes);
  if (!pages) {
    used_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    return nullptr;
  }
  sys::advise(pages, bytes, MADV_DONTDUMP);
  sys::advise(pages, bytes, MADV_NOHUGEPAGE);
  lock_free(pages, bytes);
  return pages;
}

void PageArena::give_back(void* pages, std::size_t bytes) {
  bytes = round_to_pages(bytes);
  sys::unmap_pages(pages, bytes);
  used_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
}

}  // namespace memtrace
