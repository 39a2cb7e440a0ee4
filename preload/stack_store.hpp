// Interns stacks: equal frames give the same StackId, for ever. Append-only, lock-free.
//
// Called by: the cold path (intern, count), the snapshot thread (reading). Any thread; a signal handler may
// interrupt intern() and call it; a forked child goes on with what is complete. Memory: page_arena. Full or
// failing: StackId::kNone, the caller loses the sample.
//
//   levels_[k] -> Slot[kFirstSlots << 2k]        open addressing, kProbes slots from the hash; slot = tag |
//   id directory_[id >> kDirectoryBits] -> StackEntry*[...]          -> StackEntry in a chunk, followed by
//   its frames
//
// A stack sits in the first level that had a free slot in its window when it came, and slots are never
// emptied: so a search may stop at the first free slot.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "format/types.hpp"
#include "preload/sys/page_arena.hpp"

namespace memtrace {

struct StackEntry {
  std::uint64_t hash = 0;
  std::uint32_t frame_count = 0;
  std::uint32_t truncated = 0;
  // Fixed point sums over the session, see Weight.
  std::atomic<std::uint64_t> allocated_count{0};
  std::atomic<std::uint64_t> allocated_bytes{0};

  [[nodiscard]] std::span<const ReturnAddress> frames() const {
    return {reinterpret_cast<const ReturnAddress*>(this + 1), frame_count};
  }
};

class StackStore {
 public:
  void start(PageArena& arena) { arena_ = &arena; }

  // Frames innermost first; at least one. `truncated`: the stack went on. `is_new`: told if it was not known.
  [[nodiscard]] StackId intern(std::span<const ReturnAddress> frames, bool truncated, bool* is_new = nullptr);

  // nullptr for an id whose entry is not complete (another thread is at it, or vanished in a fork).
  [[nodiscard]] StackEntry* find(StackId id) const;

  // Ids given so far are 1..size().
  [[nodiscard]] std::uint32_t size() const { return next_id_.load(std::memory_order_acquire) - 1; }

 private:
  using Slot = std::atomic<std::uint64_t>;  // 0: free; upper half: hash tag, lower half: id
  using DirectoryPage = std::atomic<StackEntry*>;

  static constexpr int kLevels = 6;
  static constexpr std::uint64_t kFirstSlots = std::uint64_t{1} << 14;
  static constexpr std::uint64_t kProbes = 16;
  static constexpr int kDirectoryBits = 15;
  static constexpr std::uint32_t kMaxStacks = std::uint32_t{1} << 25;
  static constexpr std::size_t kChunkBytes = std::size_t{1} << 19;

  [[nodiscard]] Slot* level(int k);
  template <class T>
  [[nodiscard]] T* published_or_new(std::atomic<T*>& pointer, std::size_t bytes);
  [[nodiscard]] StackEntry* take_entry(std::size_t frame_count);
  [[nodiscard]] StackId add(std::uint64_t hash, std::span<const ReturnAddress> frames, bool truncated);

  PageArena* arena_ = nullptr;
  std::atomic<Slot*> levels_[kLevels]{};
  std::atomic<DirectoryPage*> directory_[kMaxStacks >> kDirectoryBits]{};
  std::atomic<std::uint32_t> next_id_{1};
  // Where the next entry goes: address in the current chunk. A chunk is aligned to its size, so the cursor
  // alone says how much is left; 0 or a multiple of kChunkBytes means that a new chunk is due.
  std::atomic<std::uintptr_t> cursor_{0};
};

}  // namespace memtrace
