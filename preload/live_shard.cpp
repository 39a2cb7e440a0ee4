#include "preload/live_shard.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

constexpr std::uint64_t kBucketsPerPage = kPageBytes / sizeof(LiveShard::Bucket);
}  // namespace

bool LiveShard::replace(Found found, const LiveRecord& record, std::int64_t birth_base, PageArena& arena) {
  const std::uint64_t hash = place_hash(record.address);
  if (found.bucket->slots[found.slot].aside()) {
    erase(found, hash);
    return insert(record, hash, birth_base, arena);
  }
  PackedRecord packed;
  if (!pack(record, birth_base, arena, packed)) {
    erase(found, hash);
    return false;
  }
  found.bucket->clear(found.slot);
  found.bucket->write(found.slot, packed, tag_of(hash));
  return true;
}

std::size_t LiveShard::copy(LiveRecord* out, std::int64_t birth_base) const {
  std::size_t copied = 0;
  for_each_slot([&](Bucket& bucket, unsigned slot) { out[copied++] = record({&bucket, slot}, birth_base); });
  return copied;
}

bool LiveShard::grow(PageArena& arena) {
  const std::uint64_t layout = layout_.load(std::memory_order_relaxed);
  const std::uint64_t old_pages = count_of(layout) / kBucketsPerPage;  // 0: the first array, a part of a page
  // A quarter more: nobody waits long for one copy, and at 85 % full, 68 % after it, a record takes 34 bytes.
  const std::uint64_t pages = old_pages + 1 + old_pages / 4;
  if (pages * kBucketsPerPage > kMaxBuckets) return false;
  auto* fresh = static_cast<Bucket*>(arena.take(pages * kPageBytes));
  if (!fresh) return false;
  const std::uint64_t fresh_layout = layout_of(fresh, pages * kBucketsPerPage);
  for_each_slot([&](Bucket& bucket, unsigned slot) {
    place(fresh_layout, bucket.slots[slot], place_hash(address_of(bucket.slots[slot])));
  });
  set_layout(fresh_layout);
  if (old_pages) arena.give_back(buckets_of(layout), old_pages * kPageBytes);
  return true;
}

// A fresh array with each address once: the vanished holder may have left counts behind, or ahead of, what it
// did.
std::uint32_t LiveShard::rebuild(PageArena& arena) {
  const std::uint64_t layout = layout_.load(std::memory_order_relaxed);
  if (layout == 0) return 0;
  const std::uint64_t pages = (count_of(layout) + kBucketsPerPage - 1) / kBucketsPerPage;
  const std::uint32_t had = count();
  set_count(0);
  auto* fresh = static_cast<Bucket*>(arena.take(pages * kPageBytes));
  if (!fresh) {
    // Emptied where it is: what is left of it serves those to come.
    Bucket* const buckets = buckets_of(layout);
    __builtin_memset(static_cast<void*>(buckets), 0, count_of(layout) * sizeof(Bucket));
    sweep_aside();
    return had;
  }
  LiveShard rebuilt;
  rebuilt.set_layout(layout_of(fresh, pages * kBucketsPerPage));
  rebuilt.aside_ = aside_;
  for_each_slot([&](Bucket& bucket, unsigned slot) {
    const std::uint64_t address = address_of(bucket.slots[slot]);
    const std::uint64_t hash = place_hash(address);
    if (address == 0 || rebuilt.find(address, hash).bucket) return;
    place(rebuilt.layout_.load(std::memory_order_relaxed), bucket.slots[slot], hash);
    set_count(count() + 1);
  });
  set_layout(rebuilt.layout_.load(std::memory_order_relaxed));
  if (count_of(layout) != kFirstBuckets) arena.give_back(buckets_of(layout), pages * kPageBytes);
  sweep_aside();
  return 0;
}

// --- what is kept aside: few and large, or odd ---

bool LiveShard::put_aside(const LiveRecord& record, PageArena& arena, PackedRecord& packed) {
  const auto bytes_of = [](std::uint64_t capacity) {
    return round_to_pages(sizeof(AsideArray) + (capacity - 1) * sizeof(LiveRecord));
  };
  std::uint64_t i = 0;
  while (aside_ && i < aside_->capacity && aside_->records[i].address != 0) ++i;
  if (!aside_ || i == aside_->capacity) {
    const std::size_t bytes = aside_ ? 2 * bytes_of(aside_->capacity) : kPageBytes;
    const std::uint64_t capacity = (bytes - sizeof(AsideArray)) / sizeof(LiveRecord) + 1;
    if (capacity > PackedRecord::kAside) return false;
    auto* larger = static_cast<AsideArray*>(arena.take(bytes));
    if (!larger) return false;
    larger->capacity = capacity;
    AsideArray* const old = aside_;
    if (old) __builtin_memcpy(larger->records, old->records, old->capacity * sizeof(LiveRecord));
    std::atomic_signal_fence(std::memory_order_seq_cst);
    aside_ = larger;
    if (old) arena.give_back(old, bytes_of(old->capacity));
  }
  aside_->records[i] = record;
  packed = PackedRecord::of_aside(record.address, static_cast<std::uint32_t>(i));
  return true;
}

// Frees what no slot names.
void LiveShard::sweep_aside() {
  for (std::uint64_t i = 0; aside_ && i < aside_->capacity; ++i) {
    const std::uint64_t address = aside_->records[i].address;
    if (address == 0) continue;
    const Found found = find(address, place_hash(address));
    if (!found.bucket || !found.bucket->slots[found.slot].aside() ||
        found.bucket->slots[found.slot].where() != i) {
      aside_->records[i].address = 0;
    }
  }
}

}  // namespace memtrace
