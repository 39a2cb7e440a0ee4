// Pages from the kernel, where no program looks for its own.
//
// Called by: page_arena, and what needs pages for a while (cold, snapshots). Any thread, signal handlers, the
// snapshot thread; lock-free. Cost: a system call. Failing: nullptr.
//
//   program, heap | ... | window: ours | 256 GiB | where mmap goes: libraries, we, the program's mappings
//
// Left to choose, the kernel takes the highest place that fits, which may be one that the program has just
// unmapped to map it again: it would overlay what had settled there (P5). A place in the window is taken only
// if it is free; where many of those that are tried are not, the kernel chooses after all.
#pragma once

#include <cstddef>
#include <cstdint>

namespace memtrace {

inline constexpr std::size_t kPageBytes = 4096;
[[nodiscard]] constexpr std::size_t round_to_pages(std::size_t bytes) {
  return (bytes + kPageBytes - 1) & ~(kPageBytes - 1);
}

namespace sys {

inline constexpr std::uint64_t kOwnWindowBytes = std::uint64_t{64} << 30;
// From this library down to the window. The sum stays within what ThreadSanitizer takes for a program's
// memory.
inline constexpr std::uint64_t kOwnWindowDistance = std::uint64_t{256} << 30;

// Private anonymous memory, zeroed; nullptr on failure.
[[nodiscard]] void* map_pages(std::size_t bytes);
void unmap_pages(void* pages, std::size_t bytes);

}  // namespace sys
}  // namespace memtrace
