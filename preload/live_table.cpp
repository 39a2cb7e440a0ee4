#include "preload/live_table.hpp"

#include "preload/sys/syscalls.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

constexpr std::size_t kHeaderBytes = 40;
constexpr std::uint64_t kMaxCapacity = 0xffffff;

constexpr std::uint64_t capacity_of(std::size_t bytes) { return (bytes - kHeaderBytes) / sizeof(LiveRecord); }
constexpr std::size_t bytes_of(std::uint64_t capacity) {
  return round_to_pages(kHeaderBytes + capacity * sizeof(LiveRecord));
}

std::atomic_ref<std::uint64_t> published(std::uint64_t& address) { return std::atomic_ref(address); }

// The address goes last, so that a copy made at any moment holds whole records only.
void write_slot(LiveRecord& slot, const LiveRecord& record) {
  published(slot.address).store(0, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  slot.size_bytes = record.size_bytes;
  slot.sample_number = record.sample_number;
  slot.birth_ns = record.birth_ns;
  slot.stack = record.stack;
  slot.thread = record.thread;
  published(slot.address).store(record.address, std::memory_order_release);
}

}  // namespace

void LiveTable::start(PageArena& arena, std::uint32_t shard_count, Filter filter, LiveFilter::Fixed fixed) {
  arena_ = &arena;
  shard_mask_ = shard_count - 1;
  shard_shift_ = __builtin_ctz(kMaxShards) - __builtin_ctz(shard_count);
  // Without memory it goes on saying that everything may be here.
  if (filter == Filter::kCounting) (void)filter_.start(arena, fixed);
}

LiveTable::Shard& LiveTable::shard_of(std::uint64_t address) {
  static_assert(LiveFilter::kFirstWordBits >= __builtin_ctz(kMaxShards));
  return shards_[(address_hash(address) >> (64 - __builtin_ctz(kMaxShards))) >> shard_shift_];
}

std::uint64_t LiveTable::search(const SlotArray& array, std::uint64_t address) {
  std::uint64_t i = home(address_hash(address), array.capacity);
  while (array.slots[i].address != 0 && array.slots[i].address != address) {
    i = i + 1 == array.capacity ? 0 : i + 1;
  }
  return i;
}

void LiveTable::place(SlotArray& array, const LiveRecord& record) {
  write_slot(array.slots[search(array, record.address)], record);
}

// Backward shift (Knuth 6.4, algorithm R): records behind the hole move up unless that would put them before
// their home.
void LiveTable::remove(SlotArray& array, std::uint64_t slot) {
  const std::uint64_t capacity = array.capacity;
  std::uint64_t hole = slot;
  for (std::uint64_t i = slot;;) {
    i = i + 1 == capacity ? 0 : i + 1;
    if (array.slots[i].address == 0) break;
    const std::uint64_t wanted = home(address_hash(array.slots[i].address), capacity);
    const std::uint64_t from_hole = i >= hole ? i - hole : i + capacity - hole;
    const std::uint64_t from_home = i >= wanted ? i - wanted : i + capacity - wanted;
    if (from_home < from_hole) continue;
    write_slot(array.slots[hole], array.slots[i]);
    hole = i;
  }
  published(array.slots[hole].address).store(0, std::memory_order_release);
}

bool LiveTable::grow(Shard& shard) {
  SlotArray* const old = shard.array.load(std::memory_order_relaxed);
  if (old && old->capacity >= kMaxCapacity / 2) return false;
  const std::size_t bytes = old ? 2 * bytes_of(old->capacity) : kPageBytes;
  auto* fresh = static_cast<SlotArray*>(arena_->take(bytes));
  if (!fresh) return false;
  fresh->capacity = capacity_of(bytes);
  if (old) {
    for (std::uint64_t i = 0; i < old->capacity; ++i) {
      if (old->slots[i].address != 0) place(*fresh, old->slots[i]);
    }
  }
  shard.array.store(fresh, std::memory_order_release);
  if (old) arena_->give_back(old, bytes_of(old->capacity));
  return true;
}

LiveTable::Insert LiveTable::insert(const LiveRecord& record, LockOwner owner, LiveRecord& replaced) {
  const Insert result = insert_only(record, owner, replaced);
  if (result == Insert::kAdded && filter_.counting()) {
    if (const LiveFilter::Growth growth = filter_.begin_growth(); growth.next) grow_filter(growth, owner);
  }
  return result;
}

LiveTable::Insert LiveTable::insert_only(const LiveRecord& record, LockOwner owner, LiveRecord& replaced) {
  Shard& shard = shard_of(record.address);
  const LockScope scope(shard.lock, owner);
  if (!scope.held()) return Insert::kLostLock;

  SlotArray* array = shard.array.load(std::memory_order_relaxed);
  if (array) {
    const std::uint64_t i = search(*array, record.address);
    if (array->slots[i].address != 0) {
      replaced = array->slots[i];
      write_slot(array->slots[i], record);
      return Insert::kReplaced;
    }
  }
  if (!array || shard.count + 1 > array->capacity / 4 * 3) {
    // At the cap a shard fills up to one free slot, which the search needs to end.
    if (!grow(shard) && (!array || shard.count + 1 >= array->capacity)) return Insert::kLost;
    array = shard.array.load(std::memory_order_relaxed);
  }
  // The filter first: a fork in between leaves a counter too high, never a record that frees do not look for.
  if (filter_.counting()) filter_.add(record.address, in_next_filter(shard));
  place(*array, record);
  ++shard.count;
  return Insert::kAdded;
}

LiveTable::Erase LiveTable::erase(Address address, LockOwner owner, LiveRecord& erased) {
  Shard& shard = shard_of(value(address));
  const LockScope scope(shard.lock, owner);
  if (!scope.held()) return Erase::kLostLock;

  SlotArray* const array = shard.array.load(std::memory_order_relaxed);
  if (!array) return Erase::kNotFound;
  const std::uint64_t i = search(*array, value(address));
  if (array->slots[i].address == 0) return Erase::kNotFound;
  erased = array->slots[i];
  remove(*array, i);
  --shard.count;
  if (filter_.counting()) filter_.remove(value(address), in_next_filter(shard));
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
    const SlotArray* const array = shard.array.load(std::memory_order_relaxed);
    for (std::uint64_t k = 0; array && k < array->capacity; ++k) {
      if (array->slots[k].address != 0) LiveFilter::add_to(growth, array->slots[k].address);
    }
    shard.filter_growth = growth.number;
  }
  if (!filter_.publish(growth)) return;
  for (std::uint32_t i = 0; i <= shard_mask_; ++i) {
    const LockScope scope(shards_[i].lock, owner);
    if (!scope.held()) return;
  }
  filter_.end_growth();
}

std::size_t LiveTable::records_in(std::uint32_t shard_number) {
  Shard& shard = shards_[shard_number];
  const LockScope scope(shard.lock, LockOwner::kSnapshotThread);
  return scope.held() ? shard.count : 0;
}

std::size_t LiveTable::copy_shard(std::uint32_t shard_number, LiveRecord* out, std::size_t room) {
  Shard& shard = shards_[shard_number];
  const LockScope scope(shard.lock, LockOwner::kSnapshotThread);
  if (!scope.held()) return SIZE_MAX;
  const SlotArray* array = shard.array.load(std::memory_order_relaxed);
  if (!array) return 0;
  if (shard.count > room) return SIZE_MAX;
  std::size_t copied = 0;
  for (std::uint64_t i = 0; i < array->capacity && copied < shard.count; ++i) {
    if (array->slots[i].address != 0) out[copied++] = array->slots[i];
  }
  return copied;
}

// Fresh array with each address once: the vanished holder may have left a record twice, or a hole in a probe
// sequence.
std::uint32_t LiveTable::rebuild(Shard& shard) {
  SlotArray* const old = shard.array.load(std::memory_order_relaxed);
  if (!old) return 0;
  std::uint32_t lost = shard.count;
  shard.count = 0;
  auto* fresh = static_cast<SlotArray*>(arena_->take(bytes_of(old->capacity)));
  shard.array.store(fresh, std::memory_order_relaxed);  // nullptr: the shard starts empty again
  if (fresh) {
    lost = 0;
    fresh->capacity = old->capacity;
    for (std::uint64_t i = 0; i < old->capacity; ++i) {
      const LiveRecord& record = old->slots[i];
      if (record.address == 0 || fresh->slots[search(*fresh, record.address)].address != 0) continue;
      place(*fresh, record);
      ++shard.count;
    }
  }
  arena_->give_back(old, bytes_of(old->capacity));
  return lost;
}

std::uint32_t LiveTable::repair_after_fork() {
  std::uint32_t lost = 0;
  filter_.abandon_growth_after_fork();
  for (std::uint32_t i = 0; i <= shard_mask_; ++i) {
    if (shards_[i].lock.reset_after_fork()) lost += rebuild(shards_[i]);
  }
  return lost;
}

}  // namespace memtrace
