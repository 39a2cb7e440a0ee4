// Asks the kernel to back a large buffer with large pages: a million records are 48 MB, which is 12,000 page
// faults otherwise, and a page-table walk for each record that is read out of order.
//
// Called by: the reader and the comparison, once per large buffer, before it is filled. Only advice: without
// large pages nothing changes. Costs no memory beyond the last 2 MiB that are touched.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

namespace memtrace {

inline void prefer_huge_pages(const void* buffer, std::size_t bytes) {
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  const auto begin = (reinterpret_cast<std::uintptr_t>(buffer) + kHugePage - 1) / kHugePage * kHugePage;
  const auto end = (reinterpret_cast<std::uintptr_t>(buffer) + bytes) / kHugePage * kHugePage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

template <class Container>
void prefer_huge_pages(const Container& reserved) {
  prefer_huge_pages(reserved.data(), reserved.capacity() * sizeof(*reserved.data()));
}

}  // namespace memtrace
