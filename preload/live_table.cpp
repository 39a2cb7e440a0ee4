#include "preload/live_table.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {

static_assert(LiveFilter::kFirstWordBits >= __builtin_ctz(LiveTable::kMaxShards));

void LiveTable::start(PageArena& arena, std::uint32_t shard_count, Filter filter, LiveFilter::Fixed fixed,
                      std::int64_t now_ns) {
  arena_ = &arena;
  shard_mask_ = shard_count - 1;
  shard_shift_ = 63 - __builtin_ctz(shard_count);
  birth_base_ = now_ns;
  if (filter == Filter::kEveryAddress) neighbour_bits_ = __builtin_ctz(kPageBytes);
  // Without memory it goes on saying that everything may be here.
  if (filter == Filter::kCounting) (void)filter_.start(arena, fixed);
}

// Small tables, of which there are many, keep their records close together.
bool LiveTable::give_first_array(Shard& shard) {
  constexpr std::size_t kEach = LiveShard::kFirstBuckets * sizeof(LiveShard::Bucket);
  LiveShard::Bucket* first = first_.load(std::memory_order_acquire);
  if (!first) {
    const std::size_t bytes = round_to_pages(kEach * shard_count());
    auto* fresh = static_cast<LiveShard::Bucket*>(arena_->take(bytes));
    if (!fresh) return false;
    if (first_.compare_exchange_strong(first, fresh, std::memory_order_acq_rel)) {
      first = fresh;
    } else {
      arena_->give_back(fresh, bytes);
    }
  }
  shard.records.start(first + (&shard - shards_) * static_cast<std::ptrdiff_t>(LiveShard::kFirstBuckets));
  return true;
}

LiveTable::Insert LiveTable::insert(const LiveRecord& record, LockOwner owner, LiveRecord& replaced) {
  const Insert result = insert_only(record, owner, replaced);
  if (filter_.counting() && result == Insert::kAdded) {
    if (const LiveFilter::Growth growth = filter_.begin_growth(); growth.next) grow_filter(growth, owner);
  }
  return result;
}

LiveTable::Insert LiveTable::insert_only(const LiveRecord& record, LockOwner owner, LiveRecord& replaced) {
  if (!filter_.counting() && insert_at_home(prefetch(record.address), record, owner)) return Insert::kAdded;
  const std::uint64_t hash = place_hash(record.address);
  Shard& shard = shard_of(record.address);
  const LockScope scope(shard.lock, owner);
  if (!scope.held()) return Insert::kLostLock;
  return insert_under_lock(shard, hash, record, replaced);
}

LiveTable::Insert LiveTable::insert_under_lock(Shard& shard, std::uint64_t hash, const LiveRecord& record,
                                               LiveRecord& replaced) {
  if (!shard.records.has_array() && !give_first_array(shard)) return Insert::kLost;

  if (const LiveShard::Found found = shard.records.find(record.address, hash); found.bucket) [[unlikely]] {
    replaced = shard.records.record(found, birth_base_);
    if (shard.records.replace(found, record, birth_base_, *arena_)) return Insert::kReplaced;
    if (filter_.counting()) filter_.remove(record.address, in_next_filter(shard));
    return Insert::kReplacedLost;
  }
  // The filter first: a fork in between leaves a counter too high, never a record that frees do not look for.
  const bool counting = filter_.counting();
  if (counting) filter_.add(record.address, in_next_filter(shard));
  if (!shard.records.insert(record, hash, birth_base_, *arena_)) {
    if (counting) filter_.remove(record.address, in_next_filter(shard));
    return Insert::kLost;
  }
  return Insert::kAdded;
}

LiveTable::Erase LiveTable::erase(Address address, LockOwner owner, LiveRecord& erased) {
  PackedRecord packed;
  if (!filter_.counting() && erase_at_home(value(address), owner, packed)) {
    erased = packed.unpacked(birth_base_);
    return Erase::kErased;
  }
  const std::uint64_t hash = place_hash(value(address));
  Shard& shard = shard_of(value(address));
  const LockScope scope(shard.lock, owner);
  if (!scope.held()) return Erase::kLostLock;
  return erase_under_lock(shard, hash, value(address), erased);
}

LiveTable::Erase LiveTable::erase_under_lock(Shard& shard, std::uint64_t hash, std::uint64_t address,
                                             LiveRecord& erased) {
  const LiveShard::Found found = shard.records.find(address, hash);
  if (!found.bucket) return Erase::kNotFound;
  erased = shard.records.record(found, birth_base_);
  shard.records.erase(found, hash);
  if (filter_.counting()) filter_.remove(address, in_next_filter(shard));
  return Erase::kErased;
}

bool LiveTable::in_next_filter(const Shard& shard) const {
  const std::uint32_t growth = filter_.growth_in_progress();
  return growth != 0 && growth == shard.filter_growth;
}

void LiveTable::grow_filter(const LiveFilter::Growth& growth, LockOwner owner) {
  for (std::uint32_t i = 0; i <= shard_mask_; ++i) {
    Shard& shard = shards_[i];
    const LockScope scope(shard.lock, owner);
    if (!scope.held()) return;
    shard.records.for_each_address([&](std::uint64_t address) { LiveFilter::add_to(growth, address); });
    shard.filter_growth = growth.number;
  }
  if (!filter_.publish(growth)) return;
  for (std::uint32_t i = 0; i <= shard_mask_; ++i) {
    const LockScope scope(shards_[i].lock, owner);
    if (!scope.held()) return;
  }
  filter_.end_growth();
}

std::size_t LiveTable::copy_shard(std::uint32_t shard_number, LiveRecord* out, std::size_t room) {
  Shard& shard = shards_[shard_number];
  const LockScope scope(shard.lock, LockOwner::kSnapshotThread);
  if (!scope.held() || shard.records.count() > room) return SIZE_MAX;
  return shard.records.copy(out, birth_base_);
}

std::uint32_t LiveTable::repair_after_fork(LockOwner survivor) {
  std::uint32_t lost = 0;
  filter_.abandon_growth_after_fork();
  for (std::uint32_t i = 0; i <= shard_mask_; ++i) {
    if (shards_[i].lock.reset_after_fork(survivor)) lost += shards_[i].records.rebuild(*arena_);
  }
  return lost;
}

}  // namespace memtrace
