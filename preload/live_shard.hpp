// One shard of the live table: what its lock guards. Not synchronized itself.
//
// Called by: live_table.cpp, under the shard's lock. Memory: page_arena; grows by a quarter, at 85 % full,
// and never shrinks: a program whose live blocks wander over its heap takes a page for one more shard now and
// then (2,304 blocks by 4 threads: 315 of 1,024 shards have one after 3 * 10^7 pairs, 384 after 5 * 10^9).
// Full or failing: nullptr or false, and nothing has changed.
//
//   layout_ -> Bucket{tags, overflow | 5 PackedRecord}[bucket_count]        a bucket is two cache lines
//   aside_  -> AsideArray{capacity, LiveRecord[capacity]}                   what no PackedRecord can hold
//
// A record lives in its home bucket, or behind it where that was full: each bucket it had to pass counts it
// in `overflow`, so that a search ends at the first bucket that nobody passed. A slot is free when its tag is
// 0: to erase is one store, to insert is to write one slot; no record ever moves but when the array grows.
// The tag is stored last, so that a shard torn by a fork can be rebuilt from its whole records.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "preload/live_filter.hpp"
#include "preload/live_record.hpp"
#include "preload/sys/lock_witness.hpp"
#include "preload/sys/page_arena.hpp"

namespace memtrace {

// Tags of the slots, a byte each, and how many records were passed on.
struct alignas(128) LiveBucket {
  static constexpr int kSlots = 5;
  static constexpr std::uint64_t kEachSlot = 0x01'01'01'01'01;
  static constexpr std::uint64_t kInUse = 0x80 * kEachSlot;
  static constexpr int kOverflowShift = 8 * kSlots;
  static constexpr std::uint64_t kOverflowFull = 0xff;

  std::uint64_t header;
  PackedRecord slots[kSlots];

  // Slots as marks: the high bit of the slot's byte.
  [[nodiscard]] static unsigned first(std::uint64_t marks) {
    return static_cast<unsigned>(__builtin_ctzll(marks)) / 8;
  }
  [[nodiscard]] std::uint64_t used() const { return header & kInUse; }
  [[nodiscard]] std::uint64_t free() const { return ~header & kInUse; }
  // Those whose tag this may be; the lowest one is.
  [[nodiscard]] std::uint64_t matches(std::uint64_t tag) const {
    const std::uint64_t differences = header ^ tag * kEachSlot;
    return (differences - kEachSlot) & ~differences & kInUse;
  }
  // The whole of it is there when its tag is.
  void write(unsigned slot, const PackedRecord& record, std::uint64_t tag) {
    slots[slot] = record;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    header |= tag << (8 * slot);
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  void clear(unsigned slot) {
    header &= ~(std::uint64_t{0xff} << (8 * slot));
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  [[nodiscard]] std::uint64_t overflow() const { return header >> kOverflowShift & kOverflowFull; }
  // A count that was full stays so until the array grows: then searches go on in vain, not astray.
  void count_passing(bool more) {
    if (overflow() == kOverflowFull) return;
    const std::uint64_t one = std::uint64_t{1} << kOverflowShift;
    header += more ? one : 0 - one;
  }
};
static_assert(sizeof(LiveBucket) == 128);

// Where in its shard a record lives (bits 22 to 53 of the hash), and its tag (bits 15 to 21). The records of
// a page lie in the order of its blocks, spread over the whole array from where the page's hash says: blocks
// side by side are used one after another, and where a shard holds few pages their records share buckets. In
// a sequence of blocks of 64 bytes on average, every second operation needs another bucket than the one
// before at 10^4 and 10^5 live ones, and fewer records are away from home; at 10^6, each, as with random
// places.
[[nodiscard, gnu::always_inline]] inline std::uint64_t page_hash(std::uint64_t address) {
  return address_hash(address / kPageBytes);
}
[[nodiscard, gnu::always_inline]] inline std::uint64_t place_hash(std::uint64_t address,
                                                                  std::uint64_t hash_of_page) {
  return (hash_of_page + ((address % kPageBytes) << 42)) ^ (address >> 4 & 0x7f) << 15;
}
[[nodiscard]] inline std::uint64_t place_hash(std::uint64_t address) {
  return place_hash(address, page_hash(address));
}

class LiveShard {
 public:
  using Bucket = LiveBucket;

  // The first array, in memory that many shards share: never given back.
  static constexpr std::uint64_t kFirstBuckets = 4;

  struct Found {
    Bucket* bucket = nullptr;  // nullptr: not there
    unsigned slot = 0;
  };

  [[nodiscard]] bool has_array() const { return layout_.load(std::memory_order_relaxed) != 0; }
  void start(Bucket* first) { set_layout(layout_of(first, kFirstBuckets)); }
  // Also without the lock: how many there were a moment ago.
  [[nodiscard]] std::uint32_t count() const { return count_.load(std::memory_order_relaxed); }

  // Brings the bucket on its way, without the lock. What it returns is good if it is still the same under it.
  struct Home {
    std::uint64_t layout;
    Bucket* bucket;
  };
  [[nodiscard, gnu::always_inline]] Home prefetch(std::uint64_t hash) const {
    const std::uint64_t layout = layout_.load(std::memory_order_relaxed);
    Bucket* const bucket = home(layout, hash);
    __builtin_prefetch(bucket);
    __builtin_prefetch(reinterpret_cast<const char*>(bucket) + 64);
    __builtin_prefetch(bucket + 1);  // the next block's
    return {layout, bucket};
  }

  // The common case of what follows, in a third of its instructions; false: nothing was done, take the long
  // way. Insert: the address is not there for certain, its bucket has room, and the record fits.
  [[nodiscard, gnu::always_inline]] bool insert_at_home(Home at, const LiveRecord& record, std::uint64_t hash,
                                                        std::int64_t birth_base) {
    const std::uint32_t had = count();
    if (at.layout != layout_.load(std::memory_order_relaxed) || had >= grow_at_) return false;
    Bucket& bucket = *at.bucket;
    const std::uint64_t tag = tag_of(hash);
    const std::uint64_t header = bucket.header;
    if ((bucket.matches(tag) | bucket.overflow()) != 0 || bucket.free() == 0) return false;
    if (!PackedRecord::fits(record, birth_base)) return false;
    const unsigned slot = Bucket::first(bucket.free());
    bucket.slots[slot] = PackedRecord::of(record, birth_base);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    bucket.header = header | tag << (8 * slot);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    set_count(had + 1);
    return true;
  }
  // Erase: the first slot that it may be in is the one, in its home bucket.
  [[nodiscard, gnu::always_inline]] bool erase_at_home(Home at, std::uint64_t address, std::uint64_t hash,
                                                       PackedRecord& erased) {
    if (at.layout != layout_.load(std::memory_order_relaxed) || at.layout == 0) return false;
    Bucket& bucket = *at.bucket;
    const std::uint64_t tag = tag_of(hash);
    const std::uint64_t marks = bucket.matches(tag);
    if (marks == 0) return false;
    const unsigned slot = Bucket::first(marks);
    erased = bucket.slots[slot];
    if (erased.aside() || erased.key() << 3 != address) return false;
    bucket.header ^= tag << (8 * slot);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    set_count(count() - 1);
    return true;
  }

  [[nodiscard]] Found find(std::uint64_t address, std::uint64_t hash) const {
    const std::uint64_t layout = layout_.load(std::memory_order_relaxed);
    const std::uint64_t key = PackedRecord::key(address);
    Bucket* bucket = home(layout, hash);
    for (std::uint64_t left = count_of(layout); left > 0; --left) {
      for (std::uint64_t marks = bucket->matches(tag_of(hash)); marks; marks &= marks - 1) {
        const unsigned slot = Bucket::first(marks);
        if (bucket->slots[slot].key() == key && address_of(bucket->slots[slot]) == address) [[likely]] {
          return {bucket, slot};
        }
      }
      if (bucket->overflow() == 0) [[likely]] {
        break;
      }
      bucket = next(bucket, layout);
    }
    return {};
  }
  [[nodiscard]] LiveRecord record(Found found, std::int64_t birth_base) const {
    const PackedRecord& slot = found.bucket->slots[found.slot];
    if (slot.aside()) [[unlikely]] {
      return aside_->records[slot.where()];
    }
    return slot.unpacked(birth_base);
  }
  // Precondition: the address is not there. False: no room.
  [[nodiscard]] bool insert(const LiveRecord& record, std::uint64_t hash, std::int64_t birth_base,
                            PageArena& arena) {
    if (count() >= grow_at_ && !grow(arena)) {
      const std::uint64_t slots = Bucket::kSlots * count_of(layout_.load(std::memory_order_relaxed));
      if (std::uint64_t{count()} * 20 >= slots * 19) return false;
    }
    PackedRecord packed;
    if (!pack(record, birth_base, arena, packed)) return false;
    place(layout_.load(std::memory_order_relaxed), packed, hash);
    set_count(count() + 1);
    return true;
  }
  // False: no room, and the old record is gone.
  [[nodiscard]] bool replace(Found found, const LiveRecord& record, std::int64_t birth_base,
                             PageArena& arena);
  void erase(Found found, std::uint64_t hash) {
    found.bucket->clear(found.slot);
    if (found.bucket->slots[found.slot].aside()) [[unlikely]] {
      drop_aside(found.bucket->slots[found.slot]);
    }
    const std::uint64_t layout = layout_.load(std::memory_order_relaxed);
    for (Bucket* bucket = home(layout, hash); bucket != found.bucket; bucket = next(bucket, layout)) {
      bucket->count_passing(false);
    }
    set_count(count() - 1);
  }

  template <class F>
  void for_each_address(F f) const {
    for_each_slot([&](Bucket& bucket, unsigned slot) { f(address_of(bucket.slots[slot])); });
  }
  std::size_t copy(LiveRecord* out, std::int64_t birth_base) const;

  // After its holder vanished. Returns how many records were lost.
  [[nodiscard]] std::uint32_t rebuild(PageArena& arena);

 private:
  struct AsideArray {
    std::uint64_t capacity;
    LiveRecord records[1];  // address 0: free
  };

  // 17/20: memory stays below 40 bytes a record, and nearly all are at home.
  [[nodiscard]] static std::uint32_t grow_at(std::uint64_t layout) {
    return static_cast<std::uint32_t>(count_of(layout) * Bucket::kSlots * 17 / 20);
  }

  // Address and size of the array in one word: a fork never sees one without the other.
  static constexpr int kCountBits = 24;
  static constexpr std::uint64_t kMaxBuckets = (std::uint64_t{1} << kCountBits) - 1;
  [[nodiscard]] static Bucket* buckets_of(std::uint64_t layout) {
    return reinterpret_cast<Bucket*>(layout << kCountBits >> kCountBits << 7);
  }
  [[nodiscard]] static std::uint64_t count_of(std::uint64_t layout) { return layout >> (64 - kCountBits); }
  [[nodiscard]] static std::uint64_t layout_of(Bucket* buckets, std::uint64_t count) {
    return reinterpret_cast<std::uint64_t>(buckets) >> 7 | count << (64 - kCountBits);
  }
  void set_layout(std::uint64_t layout) {
    under_lock(buckets_of(layout), count_of(layout) * sizeof(Bucket));
    lock_free(&layout_, sizeof layout_);  // read by prefetch
    lock_free(&count_, sizeof count_);    // read by who asks
    layout_.store(layout, std::memory_order_release);
    grow_at_ = grow_at(layout);
  }

  // See place_hash().
  [[nodiscard]] static Bucket* home(std::uint64_t layout, std::uint64_t hash) {
    return buckets_of(layout) + ((((hash << 10) >> 32) * count_of(layout)) >> 32);
  }
  [[nodiscard]] static std::uint64_t tag_of(std::uint64_t hash) { return 0x80 | (hash >> 15 & 0x7f); }
  [[nodiscard]] static Bucket* next(Bucket* bucket, std::uint64_t layout) {
    return bucket + 1 == buckets_of(layout) + count_of(layout) ? buckets_of(layout) : bucket + 1;
  }

  [[nodiscard]] std::uint64_t address_of(const PackedRecord& slot) const {
    return slot.aside() ? aside_->records[slot.where()].address : slot.key() << 3;
  }
  template <class F>
  void for_each_slot(F f) const {
    const std::uint64_t layout = layout_.load(std::memory_order_relaxed);
    Bucket* const end = buckets_of(layout) + count_of(layout);
    for (Bucket* bucket = buckets_of(layout); bucket != end; ++bucket) {
      for (std::uint64_t used = bucket->used(); used; used &= used - 1) f(*bucket, Bucket::first(used));
    }
  }
  // Precondition: a slot is free somewhere.
  static void place(std::uint64_t layout, const PackedRecord& packed, std::uint64_t hash) {
    Bucket* bucket = home(layout, hash);
    for (; bucket->free() == 0; bucket = next(bucket, layout)) bucket->count_passing(true);
    bucket->write(Bucket::first(bucket->free()), packed, tag_of(hash));
  }
  [[nodiscard]] bool pack(const LiveRecord& record, std::int64_t birth_base, PageArena& arena,
                          PackedRecord& packed) {
    if (!PackedRecord::fits(record, birth_base)) [[unlikely]] {
      return put_aside(record, arena, packed);
    }
    packed = PackedRecord::of(record, birth_base);
    return true;
  }
  [[nodiscard, gnu::cold, gnu::noinline]] bool grow(PageArena& arena);
  [[nodiscard, gnu::cold, gnu::noinline]] bool put_aside(const LiveRecord& record, PageArena& arena,
                                                         PackedRecord& packed);
  void drop_aside(const PackedRecord& slot) { aside_->records[slot.where()].address = 0; }
  void sweep_aside();

  void set_count(std::uint32_t count) { count_.store(count, std::memory_order_relaxed); }

  std::atomic<std::uint64_t> layout_{0};
  std::atomic<std::uint32_t> count_{0};  // written under the lock
  std::uint32_t grow_at_ = 0;            // where it is wrong after a fork, growth comes early or late
  AsideArray* aside_ = nullptr;
};

}  // namespace memtrace
