// Live heap samples: address -> record. Concurrent, sharded by address, capped by its arena.
//
// Called by: the cold path of allocating hooks (insert), the cold path of free (erase), the snapshot thread
// (copy_shard). Threads: one short lock per shard; growth rehashes one shard. Signals: a handler that
// interrupts its own thread inside a shard gets "lost" instead of a deadlock. Fork: repair_after_fork()
// rebuilds the shards whose holder vanished. Full or failing: kLost; the caller counts it.
//
//   shards_[hash(address) >> ..] -> Shard{lock, count, slots -> SlotArray{capacity, LiveRecord[capacity]}}
//
// Linear probing, address 0 marks a free slot, deletion shifts back: no tombstones, so churn does not degrade
// a shard. An address is published by one store after its other fields, so that a shard torn by fork can be
// rebuilt.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "format/types.hpp"
#include "preload/live_filter.hpp"
#include "preload/sys/bounded_lock.hpp"
#include "preload/sys/page_arena.hpp"

namespace memtrace {

struct LiveRecord {
  std::uint64_t address = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t sample_number = 0;
  std::int64_t birth_ns = 0;
  StackId stack{};
  std::uint32_t thread = 0;
};
static_assert(sizeof(LiveRecord) == 40);

class LiveTable {
 public:
  enum class Insert : std::uint8_t { kAdded, kReplaced, kLost, kLostLock };
  enum class Erase : std::uint8_t { kErased, kNotFound, kLostLock };

  // kEveryAddress: may_contain says yes always, because it nearly always would.
  enum class Filter : std::uint8_t { kCounting, kEveryAddress };
  // shard_count: a power of two, at most kMaxShards.
  static constexpr std::uint32_t kMaxShards = 1024;
  void start(PageArena& arena, std::uint32_t shard_count, Filter filter, LiveFilter::Fixed fixed = {});
  // The table is not to be used any more: may_contain says no, but for what is fixed.
  void stop_asking(LiveFilter::Fixed fixed) { filter_.close(fixed); }

  [[nodiscard]] Insert insert(const LiveRecord& record, LockOwner owner, LiveRecord& replaced);
  [[nodiscard]] Erase erase(Address address, LockOwner owner, LiveRecord& erased);

  // Hot. False: `address` is certainly not in the table. Before start(), everything may be.
  [[nodiscard, gnu::always_inline]] bool may_contain(std::uint64_t address) const {
    return filter_.may_contain(address);
  }

  [[nodiscard]] std::uint32_t shard_count() const { return shard_mask_ + 1; }
  // How many records copy_shard needs room for; may grow until it is called. 0 if the lock was not had.
  [[nodiscard]] std::size_t records_in(std::uint32_t shard);
  // Copies the shard's records into out[0..room). Returns how many; SIZE_MAX if they do not fit, or the lock
  // was not had.
  [[nodiscard]] std::size_t copy_shard(std::uint32_t shard, LiveRecord* out, std::size_t room);

  // Returns how many records were lost: where a shard cannot be rebuilt for want of memory.
  [[nodiscard]] std::uint32_t repair_after_fork();

 private:
  struct SlotArray {
    std::uint64_t capacity;
    std::uint64_t padding[4];
    LiveRecord slots[1];
  };
  struct alignas(64) Shard {
    BoundedLock lock;
    std::uint32_t count = 0;
    std::uint32_t filter_growth = 0;  // the last one that has this shard's addresses
    std::atomic<SlotArray*> array{nullptr};
  };

  static std::uint64_t home(std::uint64_t hash_value, std::uint64_t capacity) {
    return ((hash_value & 0xffffffffff) * (capacity & 0xffffff)) >> 40;
  }

  [[nodiscard]] Shard& shard_of(std::uint64_t address);
  [[nodiscard]] Insert insert_only(const LiveRecord& record, LockOwner owner, LiveRecord& replaced);
  [[nodiscard]] bool grow(Shard& shard);
  // The slot that holds the address, or the free one where it would go.
  [[nodiscard]] static std::uint64_t search(const SlotArray& array, std::uint64_t address);
  static void place(SlotArray& array, const LiveRecord& record);
  static void remove(SlotArray& array, std::uint64_t slot);
  [[nodiscard]] std::uint32_t rebuild(Shard& shard);
  [[nodiscard]] bool in_next_filter(const Shard& shard) const;
  [[gnu::cold]] void grow_filter(const LiveFilter::Growth& growth, LockOwner owner);

  PageArena* arena_ = nullptr;
  std::uint32_t shard_mask_ = 0;
  int shard_shift_ = 0;  // from the hash's ten highest bits to a shard: a word of the filter belongs to one
  LiveFilter filter_;
  Shard shards_[kMaxShards]{};
};

}  // namespace memtrace
