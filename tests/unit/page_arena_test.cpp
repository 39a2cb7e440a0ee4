// Would break: P10. An arena that loses count hands out memory beyond its cap, or refuses what is free.
#include "preload/sys/page_arena.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;

TEST_CASE("nothing is handed out before start") {
  PageArena arena;
  CHECK(arena.take(1) == nullptr);
  CHECK(arena.used_bytes() == 0);
}

TEST_CASE("pages are whole, zero and counted") {
  PageArena arena;
  arena.start(64 * kPageBytes);
  auto* pages = static_cast<unsigned char*>(arena.take(kPageBytes + 1));
  REQUIRE(pages != nullptr);
  CHECK(reinterpret_cast<std::uintptr_t>(pages) % kPageBytes == 0);
  CHECK(arena.used_bytes() == 2 * kPageBytes);
  const std::vector<unsigned char> zero(2 * kPageBytes);
  CHECK(std::memcmp(pages, zero.data(), zero.size()) == 0);
  std::memset(pages, 0xff, 2 * kPageBytes);
  arena.give_back(pages, kPageBytes + 1);
  CHECK(arena.used_bytes() == 0);
  errno = 0;
  CHECK(madvise(pages, 2 * kPageBytes, MADV_NORMAL) == -1);  // gone
  CHECK(errno == ENOMEM);
}

TEST_CASE("the cap is exact, and a refusal costs nothing") {
  PageArena arena;
  arena.start(4 * kPageBytes);
  void* three = arena.take(3 * kPageBytes);
  REQUIRE(three != nullptr);
  CHECK(arena.take(2 * kPageBytes) == nullptr);
  CHECK(arena.used_bytes() == 3 * kPageBytes);
  void* last = arena.take(kPageBytes);
  CHECK(last != nullptr);
  CHECK(arena.take(1) == nullptr);
  arena.give_back(three, 3 * kPageBytes);
  arena.give_back(last, kPageBytes);
  CHECK(arena.used_bytes() == 0);
}

// What a page is to the kernel: VmFlags of /proc/self/smaps.
std::string flags_of(const void* page) {
  std::ifstream smaps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    unsigned long begin = 0;
    unsigned long end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) {
      const auto at = reinterpret_cast<std::uintptr_t>(page);
      inside = at >= begin && at < end;
    }
    if (inside && line.rfind("VmFlags:", 0) == 0) return line + " ";
  }
  return {};
}

TEST_CASE("no page is ever a part of a huge one, or of a core file") {
  PageArena arena;
  arena.start(std::uint64_t{64} << 20);
  void* pages = arena.take(8 << 20);
  REQUIRE(pages != nullptr);
  const std::string flags = flags_of(pages);
  CHECK(flags.find(" nh ") != std::string::npos);
  CHECK(flags.find(" dd ") != std::string::npos);
  arena.give_back(pages, 8 << 20);
}

TEST_CASE("sizes that cannot be rounded or mapped are refused") {
  PageArena arena;
  arena.start(UINT64_MAX);
  for (const std::size_t bytes : {std::size_t{0}, SIZE_MAX, SIZE_MAX - kPageBytes, SIZE_MAX / 2}) {
    CAPTURE(bytes);
    CHECK(arena.take(bytes) == nullptr);
    CHECK(arena.used_bytes() == 0);
  }
}

TEST_CASE("eight threads never hold more than the cap") {
  constexpr std::uint64_t kCap = 16;
  PageArena arena;
  arena.start(kCap * kPageBytes);
  std::atomic<std::uint64_t> held{0};
  std::atomic<std::uint64_t> most{0};
  std::atomic<int> refused{0};
  test::run_threads(8, [&](unsigned thread) {
    const std::uint64_t pages = 1 + thread % 4;
    for (int i = 0; i < 2'000; ++i) {
      void* block = arena.take(pages * kPageBytes);
      if (!block) {
        ++refused;
        continue;
      }
      const std::uint64_t now = held.fetch_add(pages) + pages;
      std::uint64_t seen = most.load();
      while (now > seen && !most.compare_exchange_weak(seen, now)) {
      }
      std::memset(block, 1, pages * kPageBytes);
      held.fetch_sub(pages);
      arena.give_back(block, pages * kPageBytes);
    }
  });
  CHECK(most.load() <= kCap);
  CHECK(refused.load() < 16'000);
  CHECK(arena.used_bytes() == 0);
}
