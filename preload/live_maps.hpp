// Live mappings of the program: ranges that munmap may split, mremap may move and MAP_FIXED may overlay.
//
// Called by: the mmap family's hooks (rare: a system call each), the snapshot thread. Threads: one lock,
// short. Memory: page_arena; arrays double. Full or failing: kLost, the caller counts it. Fork:
// repair_after_fork() drops everything if the lock's holder vanished in the middle of a change.
//
//   fragments_[0..n), sorted by start, disjoint: {start, end, mapping} -> mappings_[mapping]: identity, bytes
//   left
//
// A mapping counts 1 until its last page goes. Pages taken out for a munmap or mremap wait in a Removed until
// the kernel has answered: commit(), restore() or move().
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "format/types.hpp"
#include "preload/sys/bounded_lock.hpp"
#include "preload/sys/page_arena.hpp"

namespace memtrace {

struct Mapping {
  std::uint64_t address = 0;     // where it began
  std::uint64_t size_bytes = 0;  // left of it; whole pages
  std::uint64_t sample_number = 0;
  std::int64_t birth_ns = 0;
  StackId stack{};
  std::uint32_t thread = 0;
  std::uint32_t fragments = 0;  // in the table or in a Removed; 0: free slot, `address` is the next free one
  AllocKind kind{};
};

class LiveMaps {
 public:
  struct Fragment {
    std::uint64_t start;
    std::uint64_t end;
    std::uint32_t mapping;
  };

  // Pieces taken out, between remove() and commit(), restore() or move().
  struct Removed {
    static constexpr std::uint32_t kInline = 8;
    std::uint64_t start = 0;  // the range that was asked for
    std::uint64_t end = 0;
    std::uint32_t count = 0;
    std::uint32_t room = kInline;
    Fragment few[kInline];
    Fragment* many = nullptr;  // from the arena, when there are more
    [[nodiscard]] Fragment* data() { return many ? many : few; }
  };

  void start(PageArena& arena) {
    arena_ = &arena;
    lock_free(&live_, sizeof live_);
  }

  // Whole-page range. What it overlaps must have been removed before (MAP_FIXED). False: lost.
  [[nodiscard]] bool insert(const Mapping& mapping, LockOwner owner);

  // Takes out every known page in [start, end). False: lost, nothing was changed.
  [[nodiscard]] bool remove(std::uint64_t start, std::uint64_t end, LockOwner owner, Removed& removed);
  // False: lost, nothing was changed.
  [[nodiscard]] bool restore(Removed& removed, LockOwner owner);
  // Calls gone(mapping, bytes, last) for each piece: `last` when nothing is left of its mapping.
  template <class F>
  [[nodiscard]] bool commit(Removed& removed, LockOwner owner, F&& gone) {
    const LockScope scope(lock_, owner);
    if (!scope.held()) return false;
    for (std::uint32_t i = 0; i < removed.count; ++i) {
      const Fragment& piece = removed.data()[i];
      Mapping& mapping = mappings_[piece.mapping];
      const bool last = --mapping.fragments == 0;
      gone(static_cast<const Mapping&>(mapping), piece.end - piece.start, last);
      if (last) release(piece.mapping);
    }
    drop(removed);
    return true;
  }

  // Puts the pieces back where the kernel moved the range to, cut or grown to `size` whole pages: a piece
  // that reached the range's end reaches the new one. What lies there must have been removed before. Calls
  // resized(mapping, old bytes, new bytes, last) for each piece that changed its size. False: lost.
  template <class F>
  [[nodiscard]] bool move(Removed& removed, std::uint64_t to, std::uint64_t size, LockOwner owner,
                          F&& resized) {
    const LockScope scope(lock_, owner);
    if (!scope.held() || !reserve_fragments(removed.count)) return false;
    for (std::uint32_t i = 0; i < removed.count; ++i) {
      const Fragment& piece = removed.data()[i];
      Mapping& mapping = mappings_[piece.mapping];
      const std::uint64_t old_bytes = piece.end - piece.start;
      const std::uint64_t bytes = put_at(piece, removed, to, to + size);
      const bool last = mapping.fragments == 0;
      if (bytes != old_bytes) resized(static_cast<const Mapping&>(mapping), old_bytes, bytes, last);
      if (last) release(piece.mapping);
    }
    drop(removed);
    return true;
  }

  // The kind of the mapping that holds `address`; false: none known.
  [[nodiscard]] bool kind_at(std::uint64_t address, LockOwner owner, AllocKind& kind);

  // Copies every mapping into out[0..room). Returns how many; SIZE_MAX if they do not fit or the lock was not
  // had.
  [[nodiscard]] std::size_t copy(Mapping* out, std::size_t room);
  // How many there are; may grow until they are copied. Takes no lock: also where it cannot be had.
  [[nodiscard]] std::size_t mappings() const { return live_.load(std::memory_order_relaxed); }

  // Returns how many mappings were dropped.
  [[nodiscard]] std::uint32_t repair_after_fork(LockOwner survivor);

 private:
  static constexpr std::uint32_t kMaxEntries = std::uint32_t{1} << 18;

  template <class T>
  [[nodiscard]] bool reserve(T*& array, std::uint32_t used, std::uint32_t& capacity, std::uint32_t wanted);
  [[nodiscard]] bool reserve_fragments(std::uint32_t more);
  [[nodiscard]] std::uint32_t first_ending_after(std::uint64_t address) const;
  void insert_fragment(std::uint32_t at, const Fragment& fragment);
  std::uint64_t put_at(const Fragment& piece, const Removed& removed, std::uint64_t to, std::uint64_t end);
  void release(std::uint32_t mapping);
  void set_live(std::size_t mappings) {
    live_.store(static_cast<std::uint32_t>(mappings), std::memory_order_relaxed);
  }
  void drop(Removed& removed);

  BoundedLock lock_;
  PageArena* arena_ = nullptr;
  Fragment* fragments_ = nullptr;
  std::uint32_t fragment_count_ = 0;
  std::uint32_t fragment_capacity_ = 0;
  Mapping* mappings_ = nullptr;
  std::uint32_t mapping_count_ = 0;  // slots ever used
  std::uint32_t mapping_capacity_ = 0;
  std::uint32_t first_free_ = 0;        // valid when some of them are not used now
  std::atomic<std::uint32_t> live_{0};  // written under the lock
};

}  // namespace memtrace
