// Would break: a free that is not found (a leak that is none), a record that survives its block, a host that
// hangs in a lock, or one that crashes while its table grows under the snapshot.
#include "preload/live_table.hpp"

#include <memory>
#include <random>
#include <unordered_map>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/live_records.hpp"
#include "tests/support/reach.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;
using namespace memtrace::test;

namespace {

struct Shards;
struct Layout;
struct Count;

}  // namespace

template struct memtrace::test::Reach<Shards, &LiveTable::shards_>;
template struct memtrace::test::Reach<Layout, &LiveShard::layout_>;
template struct memtrace::test::Reach<Count, &LiveShard::count_>;

TEST_CASE("an empty table finds nothing and needs no memory") {
  const Table table(64, kPlenty - 1);
  CHECK(table.erase(address_number(1)) == LiveTable::Erase::kNotFound);
  CHECK(equal(*table.table, {}));
  CHECK(table.arena.used_bytes() == 0);
}

TEST_CASE("an address handed out again without a free replaces its record") {
  const Table table(64);
  CHECK(table.insert(record_of(4096, 1)) == LiveTable::Insert::kAdded);
  CHECK(table.insert(record_of(4096, 2)) == LiveTable::Insert::kReplaced);
  CHECK(same(table.replaced, record_of(4096, 1)));
  CHECK(equal(*table.table, {{4096, record_of(4096, 2)}}));
  CHECK(table.erase(4096) == LiveTable::Erase::kErased);
  CHECK(same(table.erased, record_of(4096, 2)));
  CHECK_FALSE(table.table->may_contain(4096));
}

TEST_CASE("millions of random changes, against a map") {
  for (const std::uint32_t shards : {1U, 64U, LiveTable::kMaxShards}) {
    CAPTURE(shards);
    const Table table(shards);
    Shadow shadow;
    std::mt19937_64 random(shards);
    std::uint64_t wrong = 0;
    for (std::uint64_t n = 0; n < 1'000'000; ++n) {
      // The set swells and shrinks, so that arrays grow and removals shift across their ends.
      const std::uint64_t reach = n % 200'000 < 100'000 ? 50'000 : 500;
      const std::uint64_t address = address_number(random() % reach);
      const auto known = shadow.find(address);
      wrong += known != shadow.end() && !table.table->may_contain(address);
      if (random() % 2 == 0) {
        const LiveRecord record = record_of(address, n);
        const bool replaces = known != shadow.end();
        wrong +=
            table.insert(record) != (replaces ? LiveTable::Insert::kReplaced : LiveTable::Insert::kAdded);
        wrong += replaces && !same(table.replaced, known->second);
        shadow[address] = record;
      } else if (known != shadow.end()) {
        wrong += table.erase(address) != LiveTable::Erase::kErased || !same(table.erased, known->second);
        shadow.erase(known);
      } else {
        wrong += table.erase(address) != LiveTable::Erase::kNotFound;
      }
      if (n % 100'000 == 0) wrong += !equal(*table.table, shadow);
    }
    CHECK(wrong == 0);
    CHECK(equal(*table.table, shadow));
    for (const auto& [address, record] : shadow) wrong += table.erase(address) != LiveTable::Erase::kErased;
    CHECK(wrong == 0);
    CHECK(equal(*table.table, {}));
    // The filter has no counter left: not one was lost on the way. (None was ever full.)
    std::uint64_t maybe = 0;
    for (std::uint64_t n = 0; n < 50'000; ++n) maybe += table.table->may_contain(address_number(n));
    CHECK(maybe == 0);
  }
}

TEST_CASE("eight threads change their own blocks and each other's, and the sum is exact") {
  const Table table(16);
  constexpr std::uint64_t kEach = 5'000;
  std::vector<Shadow> shadows(8);
  std::vector<std::uint64_t> wrong(8);
  // Each block has one owner, as a heap guarantees; blocks of all owners share shards and probe windows.
  test::run_threads(8, [&](unsigned thread) {
    const LockOwner owner{thread + 1};
    std::mt19937_64 random(thread);
    LiveRecord out;
    for (std::uint64_t n = 0; n < 100'000; ++n) {
      const std::uint64_t address = address_number(random() % kEach * 8 + thread);
      const bool known = shadows[thread].contains(address);
      wrong[thread] += known && !table.table->may_contain(address);
      if (!known) {
        const LiveRecord record = record_of(address, n);
        wrong[thread] += table.table->insert(record, owner, out) != LiveTable::Insert::kAdded;
        shadows[thread][address] = record;
      } else {
        wrong[thread] += table.table->erase(Address{address}, owner, out) != LiveTable::Erase::kErased;
        wrong[thread] += !same(out, shadows[thread][address]);
        shadows[thread].erase(address);
      }
    }
  });
  Shadow all;
  for (const Shadow& shadow : shadows) all.insert(shadow.begin(), shadow.end());
  CHECK(wrong == std::vector<std::uint64_t>(8));
  CHECK(equal(*table.table, all));
}

TEST_CASE("a snapshot reads whole records while eight threads grow the table") {
  const Table table(4);
  std::atomic<int> working{8};
  std::atomic<std::uint64_t> torn{0};
  test::run_threads(9, [&](unsigned thread) {
    if (thread < 8) {
      LiveRecord out;
      for (std::uint64_t n = thread; n < 200'000; n += 8) {
        (void)table.table->insert(record_of(address_number(n), n), LockOwner{thread + 1}, out);
      }
      --working;
      return;
    }
    std::vector<LiveRecord> copy;
    while (working > 0) {
      for (std::uint32_t shard = 0; shard < 4; ++shard) {
        copy.resize(table.table->records_in(shard) * 2);
        const std::size_t copied = table.table->copy_shard(shard, copy.data(), copy.size());
        if (copied == SIZE_MAX) continue;
        for (std::size_t i = 0; i < copied; ++i) {
          torn += !same(copy[i], record_of(copy[i].address, copy[i].sample_number));
        }
      }
    }
  });
  CHECK(torn == 0);
}

TEST_CASE("asking for a shard's size never touches an array that growth has given back") {
  std::vector<std::unique_ptr<Table>> tables;
  for (int i = 0; i < 200; ++i) tables.push_back(std::make_unique<Table>(1));
  std::atomic<std::size_t> at{0};
  test::run_threads(2, [&](unsigned thread) {
    LiveRecord out;
    if (thread == 0) {
      for (; at < tables.size(); ++at) {
        for (std::uint64_t n = 0; n < 2'000; ++n) {
          (void)tables[at]->table->insert(record_of(address_number(n), n), kOwner, out);
        }
      }
    } else {
      for (std::size_t now; (now = at) < tables.size();) (void)tables[now]->table->records_in(0);
    }
  });
  for (const auto& table : tables) CHECK(table->table->records_in(0) == 2'000);
}

TEST_CASE("at its cap the table takes what fits, refuses the rest and goes on") {
  const Table table(1,
                    3 * kPageBytes - 1);  // the first array, then one of a page; none of two fits beside them
  Shadow shadow;
  std::uint64_t n = 0;
  for (;; ++n) {
    const LiveTable::Insert result = table.insert(record_of(address_number(n), n));
    if (result != LiveTable::Insert::kAdded) {
      CHECK(result == LiveTable::Insert::kLost);
      break;
    }
    shadow[address_number(n)] = record_of(address_number(n), n);
  }
  const std::size_t slots = kPageBytes / sizeof(LiveBucket) * LiveBucket::kSlots;
  CHECK(shadow.size() >= slots * 9 / 10);
  CHECK(shadow.size() < slots);
  CHECK(equal(*table.table, shadow));
  CHECK(table.erase(address_number(n)) == LiveTable::Erase::kNotFound);
  // An address that is handed out again is known to be free: the stale record must not outlive that.
  CHECK(table.insert(record_of(address_number(3), 77)) == LiveTable::Insert::kReplaced);
  shadow[address_number(3)] = record_of(address_number(3), 77);
  CHECK(equal(*table.table, shadow));
  CHECK(table.erase(address_number(5)) == LiveTable::Erase::kErased);
  shadow.erase(address_number(5));
  CHECK(table.insert(record_of(address_number(n), n)) == LiveTable::Insert::kAdded);
  shadow[address_number(n)] = record_of(address_number(n), n);
  CHECK(equal(*table.table, shadow));
}

TEST_CASE("without memory every record is lost, and nothing is found") {
  const Table table(8, 0);
  CHECK(table.insert(record_of(16, 1)) == LiveTable::Insert::kLost);
  CHECK(table.erase(16) == LiveTable::Erase::kNotFound);
}

TEST_CASE("copies need room for every record") {
  const Table table(1);
  for (std::uint64_t n = 0; n < 10; ++n) (void)table.insert(record_of(address_number(n), n));
  std::vector<LiveRecord> copy(10);
  CHECK(table.table->copy_shard(0, copy.data(), 9) == SIZE_MAX);
  CHECK(table.table->copy_shard(0, copy.data(), 10) == 10);
  CHECK(table.table->records_in(0) >= 10);
}

TEST_CASE("a handler that interrupts its own thread in a shard loses its record instead of hanging") {
  const Table table(1);
  (void)table.insert(record_of(16, 1));
  REQUIRE(reach(test::Member<Shards>{}, *table.table)[0].lock.acquire(kOwner));
  CHECK(table.insert(record_of(32, 2)) == LiveTable::Insert::kLostLock);
  CHECK(table.erase(16) == LiveTable::Erase::kLostLock);
  reach(test::Member<Shards>{}, *table.table)[0].lock.release();
  CHECK(table.erase(16) == LiveTable::Erase::kErased);
}

TEST_CASE("a forked child repairs what a vanished thread was changing") {
  const Table table(2);
  Shadow shadow;
  for (std::uint64_t n = 0; n < 600; ++n) {
    LiveRecord record = record_of(address_number(n), n);
    if (n % 50 == 0) record.size_bytes += std::uint64_t{5} << 30;  // too large for its slot
    shadow[record.address] = record;
    (void)table.insert(record);
  }
  auto& shards = reach(test::Member<Shards>{}, *table.table);
  for (std::uint32_t i = 0; i < 2; ++i) {
    REQUIRE(shards[i].lock.acquire(LockOwner{9 + i}));  // nobody has two
    LiveShard& records = shards[i].records;
    const std::uint64_t layout = reach(test::Member<Layout>{}, records).load();
    auto* buckets = reinterpret_cast<LiveBucket*>(layout << 24 >> 17);
    const std::uint64_t bucket_count = layout >> 40;
    // A record stands twice, the sum and the counts of passing are off, and a slot was written whose tag was
    // not.
    std::uint64_t from = 0;
    while (buckets[from].used() == 0) ++from;
    const unsigned slot = LiveBucket::first(buckets[from].used());
    std::uint64_t to = 0;
    while (to == from || buckets[to].free() == 0) ++to;
    const unsigned place = LiveBucket::first(buckets[to].free());
    buckets[to].write(place, buckets[from].slots[slot], buckets[from].header >> (8 * slot) & 0xff);
    for (std::uint64_t k = 0; k < bucket_count; k += 3) buckets[k].count_passing(true);
    for (std::uint64_t k = 1; k < bucket_count; k += 3) {
      if (buckets[k].free()) buckets[k].slots[LiveBucket::first(buckets[k].free())].place = 12345;
    }
    reach(test::Member<Count>{}, records) += 3;
  }
  CHECK(table.table->repair_after_fork(LockOwner::kNobody) == 0);
  CHECK(equal(*table.table, shadow));
  for (const auto& [address, record] : shadow) {
    CHECK(table.erase(address) == LiveTable::Erase::kErased);
    CHECK(same(table.erased, record));
  }
  CHECK(equal(*table.table, {}));
}

TEST_CASE("a repair without memory loses the shard, says how much, and leaves it usable") {
  const Table table(1, kPageBytes);
  for (std::uint64_t n = 0; n < 10; ++n) (void)table.insert(record_of(address_number(n), n));
  REQUIRE(reach(test::Member<Shards>{}, *table.table)[0].lock.acquire(LockOwner{9}));
  CHECK(table.table->repair_after_fork(LockOwner::kNobody) == 10);
  CHECK(equal(*table.table, {}));
  CHECK(table.insert(record_of(16, 1)) == LiveTable::Insert::kAdded);
  CHECK(equal(*table.table, {{16, record_of(16, 1)}}));
}

TEST_CASE("a handler that forks in the midst of an erase leaves the array to the section that goes on") {
  const Table table(1);
  for (std::uint64_t n = 1; n <= 1000; ++n) (void)table.insert(record_of(n * 64, n));
  auto& shards = reach(test::Member<Shards>{}, *table.table);
  const auto layout = [&] { return reach(test::Member<Layout>{}, shards[0].records).load(); };
  const std::uint64_t before = layout();
  REQUIRE(shards[0].lock.acquire(LockOwner{9}));
  CHECK(table.table->repair_after_fork(LockOwner{9}) == 0);
  CHECK(layout() == before);
  CHECK_FALSE(shards[0].lock.acquire(LockOwner{9}));  // still held, by the thread that forked
  CHECK(table.table->repair_after_fork(LockOwner{8}) == 0);
  CHECK(layout() != before);
  CHECK(shards[0].lock.acquire(LockOwner{9}));
  shards[0].lock.release();
}
