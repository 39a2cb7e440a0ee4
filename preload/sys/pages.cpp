#include "preload/sys/pages.hpp"

#include <errno.h>
#include <sys/mman.h>

#include <atomic>

#include "preload/sys/syscalls.hpp"

#include "preload/no_heap.hpp"

namespace memtrace::sys {
namespace {

constexpr int kTries = 16;
constexpr std::uint64_t kStride = kOwnWindowBytes / kTries;  // past what was taken, and is still held

constinit std::atomic<std::uint64_t> g_handed_out{0};  // of the window, over and over

#if defined(__SANITIZE_THREAD__)
// It must see pages come and go, or takes the accesses of their last owner for their next one's; and where
// they may lie is its own affair.
std::uint64_t next_place(std::uint64_t, std::uint64_t) { return 0; }
long map_at(std::uint64_t, std::size_t bytes) {
  void* pages =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return pages == MAP_FAILED ? -errno : word(pages);
}
#else
// The next place of this size in the window; 0: there is no window.
std::uint64_t next_place(std::uint64_t bytes, std::uint64_t skipped) {
  const std::uint64_t here = reinterpret_cast<std::uint64_t>(&g_handed_out) & ~(kPageBytes - 1);
  if (here < kOwnWindowDistance + kOwnWindowBytes || bytes > kOwnWindowBytes / 2) return 0;
  const std::uint64_t from = g_handed_out.fetch_add(bytes + skipped, std::memory_order_relaxed) + skipped;
  const std::uint64_t end = from % (kOwnWindowBytes - bytes) + bytes;  // grows downwards, as mmap does
  return here - kOwnWindowDistance - end;
}

// The address, or -errno; 0 as a place: the kernel's choice. Before Linux 4.17 it may be another than `at`.
long map_at(std::uint64_t at, std::size_t bytes) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at ? MAP_FIXED_NOREPLACE : 0);
  return call(SYS_mmap, at, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
}
#endif

bool failed(long mapped) { return mapped < 0 && mapped > -static_cast<long>(kPageBytes); }

}  // namespace

void* map_pages(std::size_t bytes) {
  const std::size_t whole = round_to_pages(bytes);
  if (whole == 0) return nullptr;
  long mapped = -EEXIST;
  for (int i = 0; mapped == -EEXIST && i < kTries; ++i) {
    const std::uint64_t at = next_place(whole, i == 0 ? 0 : kStride);
    if (!at) break;
    mapped = map_at(at, bytes);
  }
  if (failed(mapped)) mapped = map_at(0, bytes);  // no place, or a kernel that wants none to be named
  return failed(mapped) ? nullptr : reinterpret_cast<void*>(mapped);
}

void unmap_pages(void* pages, std::size_t bytes) {
#if defined(__SANITIZE_THREAD__)
  munmap(pages, bytes);
#else
  call(SYS_munmap, pages, bytes);
#endif
}

}  // namespace memtrace::sys
