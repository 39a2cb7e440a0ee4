// Would break: snapshots that name the wrong thread, or two threads with one serial, whose samples would
// cancel each other in a diff.
#include "preload/thread_registry.hpp"

#include <algorithm>
#include <memory>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;

TEST_CASE("serials are given once, by however many threads") {
  PageArena arena;
  arena.start(1 << 20);
  const auto registry = std::make_unique<ThreadRegistry>();
  registry->start(arena);
  constexpr std::uint32_t kEach = 5'000;
  std::vector<std::vector<std::uint32_t>> serials(8);
  test::run_threads(8, [&](unsigned thread) {
    for (std::uint32_t i = 0; i < kEach; ++i) {
      const std::uint32_t serial = registry->new_serial();
      registry->set_tid(serial, serial * 3);
      serials[thread].push_back(serial);
    }
  });
  std::vector<std::uint32_t> all;
  for (const auto& part : serials) all.insert(all.end(), part.begin(), part.end());
  std::sort(all.begin(), all.end());
  REQUIRE(all.size() == 8 * kEach);
  CHECK(all.front() == 1);
  CHECK(all.back() == 8 * kEach);
  CHECK(std::adjacent_find(all.begin(), all.end()) == all.end());
  CHECK(registry->last_serial() == 8 * kEach);
  CHECK(std::all_of(all.begin(), all.end(), [&](std::uint32_t s) { return registry->tid_of(s) == s * 3; }));
  // One page for each 1024 serials that were named; what lost the race for a page was given back.
  CHECK(arena.used_bytes() == (8 * kEach / 1024 + 1) * kPageBytes);
}

TEST_CASE("a serial that nobody named has no thread") {
  PageArena arena;
  arena.start(1 << 20);
  const auto registry = std::make_unique<ThreadRegistry>();
  registry->start(arena);
  CHECK(registry->tid_of(1) == 0);
  registry->set_tid(1, 100);
  CHECK(registry->tid_of(2) == 0);
  CHECK(registry->tid_of(UINT32_MAX) == 0);
  registry->set_tid(1, 200);  // after a fork the thread has another id
  CHECK(registry->tid_of(1) == 200);
}

TEST_CASE("full or without memory, threads stay unnamed and serials go on") {
  PageArena arena;
  const auto registry = std::make_unique<ThreadRegistry>();
  registry->start(arena);  // a cap of 0
  registry->set_tid(1, 100);
  CHECK(registry->tid_of(1) == 0);
  constexpr std::uint32_t kRoom = 1024 * 1024;
  arena.start(1 << 20);
  registry->set_tid(kRoom - 1, 7);
  CHECK(registry->tid_of(kRoom - 1) == 7);
  for (const std::uint32_t serial : {kRoom, UINT32_MAX}) {
    registry->set_tid(serial, 7);
    CHECK(registry->tid_of(serial) == 0);
  }
  CHECK(registry->new_serial() == 1);
}
