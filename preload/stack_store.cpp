#include "preload/stack_store.hpp"

#define XXH_INLINE_ALL
#define XXH_NO_STREAM
#define XXH_VECTOR XXH_SCALAR
#include <xxhash.h>

#include <new>

#include "preload/sys/syscalls.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

bool same_frames(const StackEntry& entry, std::uint64_t hash, std::span<const ReturnAddress> frames,
                 bool truncated) {
  return entry.hash == hash && entry.frame_count == frames.size() && entry.truncated == truncated &&
         __builtin_memcmp(entry.frames().data(), frames.data(), frames.size_bytes()) == 0;
}

}  // namespace

template <class T>
T* StackStore::published_or_new(std::atomic<T*>& pointer, std::size_t bytes) {
  T* seen = pointer.load(std::memory_order_acquire);
  if (seen) return seen;
  void* fresh = arena_->take(bytes);  // zeroed: every atomic inside starts as 0
  if (!fresh) return nullptr;
  if (pointer.compare_exchange_strong(seen, static_cast<T*>(fresh), std::memory_order_acq_rel)) {
    return static_cast<T*>(fresh);
  }
  arena_->give_back(fresh, bytes);
  return seen;
}

StackStore::Slot* StackStore::level(int k) {
  return published_or_new(levels_[k], (kFirstSlots << (2 * k)) * sizeof(Slot));
}

StackEntry* StackStore::take_entry(std::size_t frame_count) {
  const std::size_t bytes = sizeof(StackEntry) + frame_count * sizeof(ReturnAddress);
  std::uintptr_t at = cursor_.load(std::memory_order_acquire);  // with it comes the chunk it points into
  for (;;) {
    const std::size_t used = at % kChunkBytes;
    if (used != 0 && used + bytes <= kChunkBytes) {
      if (cursor_.compare_exchange_weak(at, at + bytes, std::memory_order_acq_rel)) {
        return new (reinterpret_cast<void*>(at)) StackEntry;
      }
      continue;
    }
    // A new chunk, aligned to its size: take twice as much and give the ends back.
    void* raw = arena_->take(2 * kChunkBytes);
    if (!raw) return nullptr;
    const auto begin = reinterpret_cast<std::uintptr_t>(raw);
    const std::uintptr_t chunk = (begin + kChunkBytes - 1) & ~(kChunkBytes - 1);
    if (chunk != begin) arena_->give_back(raw, chunk - begin);
    arena_->give_back(reinterpret_cast<void*>(chunk + kChunkBytes), begin + kChunkBytes - chunk);
    // The first entry starts behind a header of 16 bytes, so that the cursor is never a multiple of the chunk
    // size.
    if (!cursor_.compare_exchange_strong(at, chunk + 16 + bytes, std::memory_order_acq_rel)) {
      arena_->give_back(reinterpret_cast<void*>(chunk), kChunkBytes);
      continue;
    }
    return new (reinterpret_cast<void*>(chunk + 16)) StackEntry;
  }
}

StackId StackStore::add(std::uint64_t hash, std::span<const ReturnAddress> frames, bool truncated) {
  StackEntry* entry = take_entry(frames.size());
  if (!entry) return StackId::kNone;
  entry->hash = hash;
  entry->frame_count = static_cast<std::uint32_t>(frames.size());
  entry->truncated = truncated;
  __builtin_memcpy(static_cast<void*>(entry + 1), frames.data(), frames.size_bytes());

  const std::uint32_t id = next_id_.fetch_add(1, std::memory_order_relaxed);
  if (id >= kMaxStacks) {
    next_id_.fetch_sub(1, std::memory_order_relaxed);
    return StackId::kNone;
  }
  DirectoryPage* page =
      published_or_new(directory_[id >> kDirectoryBits], sizeof(DirectoryPage) << kDirectoryBits);
  if (!page) return StackId::kNone;
  page[id & ((1u << kDirectoryBits) - 1)].store(entry, std::memory_order_release);
  return static_cast<StackId>(id);
}

StackEntry* StackStore::find(StackId id) const {
  const auto n = static_cast<std::uint32_t>(id);
  if (n == 0 || n >= kMaxStacks) return nullptr;
  const DirectoryPage* page = directory_[n >> kDirectoryBits].load(std::memory_order_acquire);
  return page ? page[n & ((1u << kDirectoryBits) - 1)].load(std::memory_order_acquire) : nullptr;
}

StackId StackStore::intern(std::span<const ReturnAddress> frames, bool truncated, bool* is_new) {
  const std::uint64_t hash = XXH3_64bits(frames.data(), frames.size_bytes()) + truncated;
  const std::uint64_t tag = hash & 0xffffffff00000000;
  StackId added = StackId::kNone;
  for (int k = 0; k < kLevels; ++k) {
    Slot* const slots = level(k);
    if (!slots) return StackId::kNone;
    const std::uint64_t mask = (kFirstSlots << (2 * k)) - 1;
    for (std::uint64_t probe = 0; probe < kProbes; ++probe) {
      Slot& slot = slots[(hash + probe) & mask];
      std::uint64_t seen = slot.load(std::memory_order_acquire);
      if (seen == 0) {
        if (added == StackId::kNone) added = add(hash, frames, truncated);
        if (added == StackId::kNone) return StackId::kNone;
        if (slot.compare_exchange_strong(seen, tag | static_cast<std::uint32_t>(added),
                                         std::memory_order_acq_rel)) {
          if (is_new) *is_new = true;
          return added;
        }
        // Another thread took the slot, perhaps for this very stack: then ours stays unused, an id with zero
        // counts.
      }
      if ((seen & 0xffffffff00000000) != tag) continue;
      const auto id = static_cast<StackId>(static_cast<std::uint32_t>(seen));
      const StackEntry* entry = find(id);
      if (entry && same_frames(*entry, hash, frames, truncated)) return id;
    }
  }
  return StackId::kNone;
}

}  // namespace memtrace
