// Would break: a "no" for a block that is recorded, whose free then leaves its record behind: a leak that is
// none. Or a "maybe" for most blocks, which makes every free dear.
#include "preload/live_filter.hpp"

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "preload/live_table.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;

namespace {

constexpr LockOwner kOwner{1};

struct Table {
  explicit Table(std::uint32_t shards, std::uint64_t cap = std::uint64_t{1} << 32,
                 LiveFilter::Fixed fixed = {}) {
    arena.start(cap);
    table->start(arena, shards, LiveTable::Filter::kCounting, fixed);
  }
  void insert(std::uint64_t address, LockOwner owner = kOwner) const {
    LiveRecord record;
    record.address = address;
    record.stack = StackId{1};
    LiveRecord replaced;
    if (table->insert(record, owner, replaced) != LiveTable::Insert::kAdded) ++failed;
  }
  void erase(std::uint64_t address, LockOwner owner = kOwner) const {
    LiveRecord erased;
    if (table->erase(Address{address}, owner, erased) != LiveTable::Erase::kErased) ++failed;
  }
  PageArena arena;
  std::unique_ptr<LiveTable> table = std::make_unique<LiveTable>();
  mutable std::atomic<int> failed{0};
};

// Blocks of a heap that has been used for long: sizes with a long tail, in the order of their addresses.
std::vector<std::uint64_t> heap_of(std::size_t blocks, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::lognormal_distribution<double> size(5, 1.5);
  std::vector<std::uint64_t> addresses(blocks);
  std::uint64_t at = 0x5555'5575'92a0;
  for (std::uint64_t& address : addresses) {
    address = at;
    at += (static_cast<std::uint64_t>(size(random)) + 8 + 15) / 16 * 16 + 16;
  }
  std::ranges::shuffle(addresses, random);
  return addresses;
}

}  // namespace

TEST_CASE("before its start a filter says maybe to everything, closed to nothing but what is fixed") {
  LiveFilter filter;
  for (const std::uint64_t address : heap_of(1000, 1)) CHECK(filter.may_contain(address));
  const LiveFilter::Fixed fixed{0x7000'0000'0000, 0x7000'0000'0050};
  filter.close(fixed);
  std::uint64_t maybe = 0;
  for (const std::uint64_t address : heap_of(1000, 1)) maybe += filter.may_contain(address);
  CHECK(maybe < 100);
  for (std::uint64_t address = fixed.begin; address < fixed.end; address += 16) {
    CHECK(filter.may_contain(address));
  }
}

TEST_CASE("a filter without memory goes on saying maybe") {
  const Table table(64, 0);
  for (const std::uint64_t address : heap_of(100, 1)) CHECK(table.table->may_contain(address));
}

TEST_CASE("what is fixed stays so through every growth, and closing a started filter changes nothing") {
  const LiveFilter::Fixed fixed{0x7000'0000'0000, 0x7000'0000'0100};
  const Table table(64, std::uint64_t{1} << 32, fixed);
  for (const std::uint64_t address : heap_of(20'000, 1)) table.insert(address);
  table.table->stop_asking({});
  for (const std::uint64_t address : heap_of(20'000, 1)) CHECK(table.table->may_contain(address));
  for (const std::uint64_t address : heap_of(20'000, 1)) table.erase(address);
  std::uint64_t wrong = 0;
  for (const std::uint64_t address : heap_of(20'000, 1)) wrong += table.table->may_contain(address);
  CHECK(wrong < 20);  // those that share a bit with a fixed one
  for (std::uint64_t address = fixed.begin; address < fixed.end; address += 16) {
    CHECK(table.table->may_contain(address));
  }
  CHECK(table.failed == 0);
}

TEST_CASE("few frees are looked up in vain, however many samples live") {
  for (const std::size_t live : {1'000U, 2'048U, 2'100U, 10'000U, 100'000U, 1'000'000U}) {
    CAPTURE(live);
    const std::vector<std::uint64_t> heap = heap_of(live + 400'000, live);
    const Table table(64);
    for (std::size_t i = 0; i < live; ++i) table.insert(heap[i]);
    std::uint64_t maybe = 0;
    for (std::size_t i = live; i < heap.size(); ++i) maybe += table.table->may_contain(heap[i]);
    CHECK(maybe <= 400'000 / 25);  // 4 %; 1 / kBitsPerKey is expected at most
    std::uint64_t missed = 0;
    for (std::size_t i = 0; i < live; ++i) missed += !table.table->may_contain(heap[i]);
    CHECK(missed == 0);
    for (std::size_t i = 0; i < live; ++i) table.erase(heap[i]);
    maybe = 0;
    for (std::size_t i = 0; i < live; ++i) maybe += table.table->may_contain(heap[i]);
    CHECK(maybe == 0);  // not one counter was lost on the way, nor left
    CHECK(table.failed == 0);
  }
}

TEST_CASE("a counter that was full says maybe for ever") {
  const Table table(1);
  // Addresses that share a bit: multiples of the multiplier's inverse, scaled, differ in nothing that is
  // asked.
  std::vector<std::uint64_t> together;
  __extension__ using Product = unsigned __int128;
  const auto place = [](std::uint64_t address) {
    const Product product = static_cast<Product>(address) * kAddressMultiplier;
    return (static_cast<std::uint64_t>(product) >> 54) * 64 +
           (static_cast<std::uint64_t>(product >> 64) & 63);
  };
  for (std::uint64_t n = 1; together.size() < 16; ++n) {
    if (place(n * 16) == 7777) together.push_back(n * 16);
  }
  for (std::size_t i = 0; i < 14; ++i) table.insert(together[i]);
  for (std::size_t i = 0; i < 14; ++i) {
    CHECK(table.table->may_contain(together[i]));
    table.erase(together[i]);
  }
  CHECK_FALSE(table.table->may_contain(together[0]));
  for (const std::uint64_t address : together) table.insert(address);
  for (const std::uint64_t address : together) {
    CHECK(table.table->may_contain(address));
    table.erase(address);
  }
  CHECK(table.table->may_contain(together[0]));
  CHECK(table.failed == 0);
}

TEST_CASE(
    "eight threads free each other's blocks while the filter grows: it never says no to one that lives") {
  const Table table(64);
  constexpr unsigned kThreads = 8;
  constexpr std::size_t kEach = 10'000;
  const std::vector<std::uint64_t> heap = heap_of(kThreads * kEach, 3);
  // Each thread's blocks are erased by its neighbour, as far behind as it takes to be handed over.
  std::vector<std::atomic<std::size_t>> handed(kThreads);
  std::atomic<std::uint64_t> missed{0};
  test::run_threads(kThreads, [&](unsigned thread) {
    const LockOwner owner{thread + 1};
    const unsigned neighbour = (thread + 1) % kThreads;
    std::size_t erased = 0;
    for (std::size_t i = 0; i < kEach; ++i) {
      table.insert(heap[thread * kEach + i], owner);
      handed[thread].store(i + 1, std::memory_order_release);
      // A third of them stays, so that it has to grow.
      const std::size_t theirs = handed[neighbour].load(std::memory_order_acquire);
      for (; erased < theirs; ++erased) {
        const std::uint64_t address = heap[neighbour * kEach + erased];
        missed += !table.table->may_contain(address);
        if (erased % 3 != 0) table.erase(address, owner);
      }
    }
  });
  CHECK(missed == 0);
  CHECK(table.failed == 0);
}

TEST_CASE("a child forked while the filter grows goes on with a right one") {
  const Table table(64);
  const std::vector<std::uint64_t> heap = heap_of(5'000, 5);
  LiveFilter filter;
  PageArena arena;
  arena.start(std::uint64_t{1} << 32);
  REQUIRE(filter.start(arena, {}));
  for (const std::uint64_t address : heap) filter.add(address, false);
  const LiveFilter::Growth growth = filter.begin_growth();
  REQUIRE(growth.next);
  CHECK_FALSE(filter.begin_growth().next);  // one at a time
  for (std::size_t i = 0; i < 2'000; ++i) LiveFilter::add_to(growth, heap[i]);
  filter.abandon_growth_after_fork();
  CHECK_FALSE(filter.publish(growth));  // whose handler forked, and returned
  CHECK(filter.growth_in_progress() == 0);
  for (const std::uint64_t address : heap) {
    CHECK(filter.may_contain(address));
    filter.remove(address, true);
    filter.add(address, true);
  }
  for (const std::uint64_t address : heap_of(5'000, 6)) filter.add(address, false);
  CHECK(filter.begin_growth().next);
}
