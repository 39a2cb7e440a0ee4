// Would break: a value too large for its packed place comes back as another one.
#include "preload/live_record.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/live_records.hpp"
#include "tests/support/reach.hpp"

using namespace memtrace;
using namespace memtrace::test;

TEST_CASE("values that no slot holds are kept as they are") {
  const Table table(1);
  Shadow shadow;
  std::mt19937_64 random(1);
  const LiveRecord usual = record_of(0x5555'0000'1230, 7);
  for (int round = 0; round < 40; ++round) {
    for (const int bits : {19, 20, 21, 26, 30, 36, 45, 46, 47, 63}) {
      const std::uint64_t value = std::uint64_t{1} << bits | (random() >> (64 - bits));
      LiveRecord record = usual;
      record.address += static_cast<std::uint64_t>(shadow.size()) * 16;
      switch (random() % 6) {
        case 0:
          record.size_bytes = value;
          break;
        case 1:
          record.sample_number = value;
          break;
        case 2:
          record.birth_ns = static_cast<std::int64_t>(value);
          break;
        case 3:
          record.thread = static_cast<std::uint32_t>(value);
          break;
        case 4:
          record.stack = StackId{static_cast<std::uint32_t>(value) | 1};
          break;
        default:
          record.address ^= value & ~std::uint64_t{0xffff0};
          break;  // high or odd: same keys, too
      }
      if (record.birth_ns < std::int64_t{1} << 56) record.birth_ns = record.birth_ns >> 20 << 20;
      if (shadow.contains(record.address)) continue;
      shadow[record.address] = record;
      REQUIRE(table.insert(record) == LiveTable::Insert::kAdded);
    }
  }
  CHECK(equal(*table.table, shadow));
  // One address, from either kind to either kind.
  for (const std::uint64_t size :
       {std::uint64_t{1} << 47, std::uint64_t{5}, std::uint64_t{1} << 20, std::uint64_t{6}}) {
    LiveRecord& record = shadow[usual.address + 16];
    const LiveRecord before = record;
    record.address = usual.address + 16;
    record.size_bytes = size;
    const bool known = before.address != 0;
    CHECK(table.insert(record) == (known ? LiveTable::Insert::kReplaced : LiveTable::Insert::kAdded));
    if (known) CHECK(same(table.replaced, before));
    CHECK(equal(*table.table, shadow));
  }
  const std::uint64_t memory = table.arena.used_bytes();
  for (const auto& [address, record] : shadow) {
    CHECK(table.erase(address) == LiveTable::Erase::kErased);
    CHECK(same(table.erased, record));
  }
  for (const auto& [address, record] : shadow) CHECK(table.insert(record) == LiveTable::Insert::kAdded);
  CHECK(table.arena.used_bytes() == memory);  // what was aside serves again
  CHECK(equal(*table.table, shadow));
}

TEST_CASE("a record that must be put aside and cannot is lost, and the stale one at its address is gone") {
  const Table table(1, kPageBytes);
  CHECK(table.insert(record_of(16, 1)) == LiveTable::Insert::kAdded);
  LiveRecord large = record_of(32, 2);
  large.size_bytes = std::uint64_t{1} << 40;
  CHECK(table.insert(large) == LiveTable::Insert::kLost);
  large.address = 16;
  CHECK(table.insert(large) == LiveTable::Insert::kReplacedLost);
  CHECK(same(table.replaced, record_of(16, 1)));
  CHECK(equal(*table.table, {}));
}

TEST_CASE("a live record takes less than forty bytes, and its shard is small") {
  const Table table(LiveTable::kMaxShards, kPlenty - 1);
  constexpr std::uint64_t kLive = 1'000'000;
  for (std::uint64_t n = 0; n < kLive; ++n) (void)table.insert(record_of(address_number(n), n % 10'000));
  // Two shards in three have just grown or are about to: this is the mean.
  CHECK(table.arena.used_bytes() < 40 * kLive);
  for (std::uint32_t i = 0; i < LiveTable::kMaxShards; ++i) CHECK(table.table->records_in(i) < 1'500);
}
