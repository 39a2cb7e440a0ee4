// Live heap samples: address -> record. Concurrent, sharded by address, capped by its arena.
//
// Called by: the cold path of allocating hooks (insert), the cold path of free (erase), the snapshot thread
// (copy_shard). Threads: one short lock per shard; growth rehashes one shard. Signals: a handler that
// interrupts its own thread inside a shard gets "lost" instead of a deadlock. Fork: repair_after_fork()
// rebuilds the shards whose holder vanished. Full or failing: kLost; the caller counts it.
//
//   shards_[ten highest bits of the hash] -> Shard{lock, LiveShard}     see live_shard.hpp
//   first_ -> the first array of every shard, 512 bytes each
//
// In mode all each allocation and each free takes one lock, and touches the shard's line and its bucket.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "format/types.hpp"
#include "preload/live_filter.hpp"
#include "preload/live_shard.hpp"
#include "preload/sys/bounded_lock.hpp"
#include "preload/sys/page_arena.hpp"

namespace memtrace {

class LiveTable {
 private:
  struct Shard;

 public:
  // kReplacedLost: the address had a record, which is gone, and the new one found no room.
  enum class Insert : std::uint8_t { kAdded, kReplaced, kReplacedLost, kLost, kLostLock };
  enum class Erase : std::uint8_t { kErased, kNotFound, kLostLock };

  // kEveryAddress: may_contain says yes always, because it nearly always would.
  enum class Filter : std::uint8_t { kCounting, kEveryAddress };
  // shard_count: a power of two, at most kMaxShards. now_ns: no birth is earlier.
  static constexpr std::uint32_t kMaxShards = 1024;
  void start(PageArena& arena, std::uint32_t shard_count, Filter filter, LiveFilter::Fixed fixed = {},
             std::int64_t now_ns = 0);
  // The table is not to be used any more: may_contain says no, but for what is fixed.
  void stop_asking(LiveFilter::Fixed fixed) { filter_.close(fixed); }

  [[nodiscard]] Insert insert(const LiveRecord& record, LockOwner owner, LiveRecord& replaced);
  [[nodiscard]] Erase erase(Address address, LockOwner owner, LiveRecord& erased);

  // Where an address has its record, as it is brought on its way to the cache.
  struct Place {
    Shard* shard;
    std::uint64_t hash;
    LiveShard::Home home;
  };
  // Without a filter only: this, and the common case of both, which is hot in mode all. False: nothing was
  // done, take the long way.
  [[nodiscard, gnu::always_inline]] Place prefetch(std::uint64_t address) {
    const std::uint64_t page = page_hash(address);
    Shard& shard = shards_[page >> 1 >> shard_shift_];
    const std::uint64_t hash = place_hash(address, page);
    return {&shard, hash, shard.records.prefetch(hash)};
  }
  [[nodiscard, gnu::always_inline]] bool insert_at_home(const Place& place, const LiveRecord& record,
                                                        LockOwner owner) {
    if (!place.shard->lock.try_acquire(owner)) [[unlikely]] {
      return false;
    }
    const bool done = place.shard->records.insert_at_home(place.home, record, place.hash, birth_base_);
    place.shard->lock.release();
    return done;
  }
  [[nodiscard, gnu::always_inline]] bool erase_at_home(std::uint64_t address, LockOwner owner,
                                                       PackedRecord& erased) {
    const Place place = prefetch(address);
    if (!place.shard->lock.try_acquire(owner)) [[unlikely]] {
      return false;
    }
    const bool done = place.shard->records.erase_at_home(place.home, address, place.hash, erased);
    place.shard->lock.release();
    return done;
  }

  // Hot. False: `address` is certainly not in the table. Before start(), everything may be.
  [[nodiscard, gnu::always_inline]] bool may_contain(std::uint64_t address) const {
    return filter_.may_contain(address);
  }

  [[nodiscard]] LiveRecord unpacked(const PackedRecord& record) const { return record.unpacked(birth_base_); }

  [[nodiscard]] std::uint32_t shard_count() const { return shard_mask_ + 1; }
  // How many records copy_shard needs room for; may grow until it is called. Takes no lock: it also says what
  // a shard holds whose lock cannot be had.
  [[nodiscard]] std::size_t records_in(std::uint32_t shard) const { return shards_[shard].records.count(); }
  // Copies the shard's records into out[0..room). Returns how many; SIZE_MAX if they do not fit, or the lock
  // was not had.
  [[nodiscard]] std::size_t copy_shard(std::uint32_t shard, LiveRecord* out, std::size_t room);

  // Returns how many records were lost: where a shard cannot be rebuilt for want of memory.
  [[nodiscard]] std::uint32_t repair_after_fork(LockOwner survivor);

 private:
  struct alignas(64) Shard {
    BoundedLock lock;
    std::uint32_t filter_growth = 0;  // the last one that has this shard's addresses
    LiveShard records;
  };
  static_assert(sizeof(Shard) == 64);

  [[nodiscard, gnu::always_inline]] Shard& shard_of(std::uint64_t address) {
    // In two steps: a single shard's would shift by 64.
    return shards_[address_hash(address >> neighbour_bits_) >> 1 >> shard_shift_];
  }
  [[nodiscard]] Insert insert_only(const LiveRecord& record, LockOwner owner, LiveRecord& replaced);
  [[nodiscard, gnu::noinline]] Insert insert_under_lock(Shard& shard, std::uint64_t hash,
                                                        const LiveRecord& record, LiveRecord& replaced);
  [[nodiscard, gnu::noinline]] Erase erase_under_lock(Shard& shard, std::uint64_t hash, std::uint64_t address,
                                                      LiveRecord& erased);
  [[nodiscard]] bool give_first_array(Shard& shard);
  [[nodiscard]] bool in_next_filter(const Shard& shard) const;
  [[gnu::cold]] void grow_filter(const LiveFilter::Growth& growth, LockOwner owner);

  PageArena* arena_ = nullptr;
  std::uint32_t shard_mask_ = 0;
  int shard_shift_ = 63;  // the highest bits of a hash choose its shard, at most ten: a filter's word has one
  // Without a filter, blocks of a page are in one shard: a thread, which allocates from pages of its own, has
  // the lines of few shards in its cache, and seldom those of another thread.
  int neighbour_bits_ = 0;
  std::int64_t birth_base_ = 0;
  std::atomic<LiveShard::Bucket*> first_{nullptr};
  LiveFilter filter_;
  Shard shards_[kMaxShards]{};
};

}  // namespace memtrace
