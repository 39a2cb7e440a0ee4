// A live table with memory of its own, and records to put into it: shared by the tests of the table.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "preload/live_table.hpp"

namespace memtrace::test {

inline constexpr LockOwner kOwner{1};
inline constexpr std::uint64_t kPlenty = std::uint64_t{1} << 32;

struct Table {
  explicit Table(std::uint32_t shards, std::uint64_t cap = kPlenty) {
    arena.start(cap);
    // Where memory is short, it shall be short for the records.
    table->start(arena, shards,
                 cap == kPlenty ? LiveTable::Filter::kCounting : LiveTable::Filter::kEveryAddress);
  }
  LiveTable::Insert insert(const LiveRecord& record, LockOwner owner = kOwner) const {
    return table->insert(record, owner, replaced);
  }
  LiveTable::Erase erase(std::uint64_t address, LockOwner owner = kOwner) const {
    return table->erase(Address{address}, owner, erased);
  }
  PageArena arena;
  std::unique_ptr<LiveTable> table = std::make_unique<LiveTable>();
  mutable LiveRecord replaced;
  mutable LiveRecord erased;
};

inline LiveRecord record_of(std::uint64_t address, std::uint64_t n) {
  return {address,
          n * 3 + 1,
          n,
          static_cast<std::int64_t>(n * 7) << PackedRecord::kBirthUnitBits,
          StackId{static_cast<std::uint32_t>(n)},
          static_cast<std::uint32_t>(n % 100)};
}

inline bool same(const LiveRecord& a, const LiveRecord& b) {
  return a.address == b.address && a.size_bytes == b.size_bytes && a.sample_number == b.sample_number &&
         a.birth_ns == b.birth_ns && a.stack == b.stack && a.thread == b.thread;
}

using Shadow = std::unordered_map<std::uint64_t, LiveRecord>;

// Everything in the table is in the shadow, once, and nothing else is.
inline bool equal(LiveTable& table, const Shadow& shadow) {
  std::size_t seen = 0;
  std::vector<LiveRecord> copy(shadow.size() + 1);
  for (std::uint32_t shard = 0; shard < table.shard_count(); ++shard) {
    const std::size_t copied = table.copy_shard(shard, copy.data(), copy.size());
    if (copied == SIZE_MAX) return false;
    for (std::size_t i = 0; i < copied; ++i) {
      const auto found = shadow.find(copy[i].address);
      if (found == shadow.end() || !same(found->second, copy[i])) return false;
    }
    seen += copied;
  }
  return seen == shadow.size();
}

// Blocks as allocators lay them out: 16-byte steps, some regions far apart.
inline std::uint64_t address_number(std::uint64_t n) {
  return 0x550000000000 + (n % 4) * 0x0a0000000000 + (n / 4) * 16;
}

}  // namespace memtrace::test
