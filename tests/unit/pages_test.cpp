// Would break: P5. Pages of the shim would lie where the program is about to map its own, or on what is
// there.
#include "preload/sys/pages.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "tests/support/catch.hpp"

using namespace memtrace;

namespace {

constexpr std::size_t kGiB = std::size_t{1} << 30;

std::uint64_t address_of(const void* pages) { return reinterpret_cast<std::uint64_t>(pages); }

}  // namespace

#if !defined(__SANITIZE_THREAD__)  // it has a say in where pages lie
TEST_CASE("pages never lie where the kernel would have put them") {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{4096}, std::size_t{5'000'000}, kGiB}) {
    CAPTURE(bytes);
    void* hole = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(hole != MAP_FAILED);
    REQUIRE(munmap(hole, bytes) == 0);
    auto* pages = static_cast<char*>(sys::map_pages(bytes));
    REQUIRE(pages != nullptr);
    CHECK(address_of(pages) % 4096 == 0);
    CHECK(address_of(hole) - address_of(pages) > sys::kOwnWindowDistance / 2);
    CHECK(pages[0] == 0);
    std::memset(pages, 1, bytes < 4096 ? bytes : 4096);
    sys::unmap_pages(pages, bytes);
  }
}

TEST_CASE("the window is used over and over, and what is held in it is never given out again") {
  void* held = sys::map_pages(3 * kGiB);
  REQUIRE(held != nullptr);
  std::uint64_t lowest = UINT64_MAX;
  std::uint64_t highest = 0;
  for (int i = 0; i < 500; ++i) {
    void* pages = sys::map_pages(kGiB);
    REQUIRE(pages != nullptr);
    const bool apart =
        address_of(pages) + kGiB <= address_of(held) || address_of(pages) >= address_of(held) + 3 * kGiB;
    CHECK(apart);
    lowest = std::min(lowest, address_of(pages));
    highest = std::max(highest, address_of(pages) + kGiB);
    sys::unmap_pages(pages, kGiB);
  }
  CHECK(highest - lowest <= sys::kOwnWindowBytes);
  CHECK(highest - lowest > sys::kOwnWindowBytes / 2);
  sys::unmap_pages(held, 3 * kGiB);
}

#endif

TEST_CASE("where the window is full, the kernel chooses") {
  std::vector<void*> all;
  for (int i = 0; i < 200; ++i) {
    all.push_back(sys::map_pages(kGiB));
    REQUIRE(all.back() != nullptr);
  }
  std::sort(all.begin(), all.end());
  CHECK(std::adjacent_find(all.begin(), all.end(), [](void* low, void* high) {
          return address_of(high) - address_of(low) < kGiB;
        }) == all.end());
  for (void* pages : all) sys::unmap_pages(pages, kGiB);
}

TEST_CASE("sizes that cannot be mapped are refused") {
  for (const std::size_t bytes : {std::size_t{0}, SIZE_MAX, SIZE_MAX - 4096, SIZE_MAX / 2}) {
    CAPTURE(bytes);
    CHECK(sys::map_pages(bytes) == nullptr);
  }
}
