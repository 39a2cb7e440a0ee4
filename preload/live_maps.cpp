#include "preload/live_maps.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {

template <class T>
bool LiveMaps::reserve(T*& array, std::uint32_t used, std::uint32_t& capacity, std::uint32_t wanted) {
  if (wanted <= capacity) return true;
  std::uint32_t larger = capacity ? capacity * 2 : static_cast<std::uint32_t>(kPageBytes / sizeof(T));
  while (larger < wanted) larger *= 2;
  if (larger > kMaxEntries) return false;
  auto* fresh = static_cast<T*>(arena_->take(larger * sizeof(T)));
  if (!fresh) return false;
  under_lock(fresh, larger * sizeof(T));
  if (array) {
    __builtin_memcpy(static_cast<void*>(fresh), array, used * sizeof(T));
    arena_->give_back(array, capacity * sizeof(T));
  }
  array = fresh;
  capacity = larger;
  return true;
}

bool LiveMaps::reserve_fragments(std::uint32_t more) {
  return reserve(fragments_, fragment_count_, fragment_capacity_, fragment_count_ + more);
}

std::uint32_t LiveMaps::first_ending_after(std::uint64_t address) const {
  std::uint32_t low = 0;
  std::uint32_t high = fragment_count_;
  while (low < high) {
    const std::uint32_t middle = low + (high - low) / 2;
    if (fragments_[middle].end > address) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

// Precondition: room was reserved.
void LiveMaps::insert_fragment(std::uint32_t at, const Fragment& fragment) {
  __builtin_memmove(fragments_ + at + 1, fragments_ + at, (fragment_count_ - at) * sizeof(Fragment));
  fragments_[at] = fragment;
  ++fragment_count_;
}

void LiveMaps::release(std::uint32_t mapping) {
  mappings_[mapping] = Mapping{};
  mappings_[mapping].address = first_free_;
  first_free_ = mapping;
  set_live(mappings() - 1);
}

bool LiveMaps::insert(const Mapping& mapping, LockOwner owner) {
  const LockScope scope(lock_, owner);
  if (!scope.held()) return false;
  if (!reserve_fragments(1)) return false;
  std::uint32_t slot = mapping_count_;
  if (mappings() < mapping_count_) {
    slot = first_free_;
    first_free_ = static_cast<std::uint32_t>(mappings_[slot].address);
  } else {
    if (!reserve(mappings_, mapping_count_, mapping_capacity_, mapping_count_ + 1)) return false;
    ++mapping_count_;
  }
  mappings_[slot] = mapping;
  mappings_[slot].fragments = 1;
  set_live(mappings() + 1);
  insert_fragment(first_ending_after(mapping.address),
                  {mapping.address, mapping.address + mapping.size_bytes, slot});
  return true;
}

bool LiveMaps::remove(std::uint64_t start, std::uint64_t end, LockOwner owner, Removed& removed) {
  removed.start = start;
  removed.end = end;
  const LockScope scope(lock_, owner);
  if (!scope.held()) return false;
  const std::uint32_t first = first_ending_after(start);
  std::uint32_t last = first;
  while (last < fragment_count_ && fragments_[last].start < end) ++last;
  const std::uint32_t count = last - first;
  if (count == 0) return true;

  // A range inside one fragment leaves two: everything that can fail comes before the first change.
  if (!reserve_fragments(1)) return false;
  if (count > Removed::kInline) {
    removed.many = static_cast<Fragment*>(arena_->take(count * sizeof(Fragment)));
    if (!removed.many) return false;
    removed.room = count;
  }
  removed.count = count;

  const Fragment head = fragments_[first];
  const Fragment tail = fragments_[last - 1];
  for (std::uint32_t i = 0; i < count; ++i) {
    Fragment piece = fragments_[first + i];
    if (piece.start < start) piece.start = start;
    if (piece.end > end) piece.end = end;
    removed.data()[i] = piece;
    mappings_[piece.mapping].size_bytes -= piece.end - piece.start;
  }
  const bool keep_head = head.start < start;
  const bool keep_tail = tail.end > end;
  if (keep_head) ++mappings_[head.mapping].fragments;
  if (keep_tail) ++mappings_[tail.mapping].fragments;
  const std::uint32_t kept = std::uint32_t{keep_head} + std::uint32_t{keep_tail};
  __builtin_memmove(fragments_ + first + kept, fragments_ + last,
                    (fragment_count_ - last) * sizeof(Fragment));
  fragment_count_ = fragment_count_ - count + kept;
  if (keep_head) fragments_[first] = {head.start, start, head.mapping};
  if (keep_tail) fragments_[first + kept - 1] = {end, tail.end, tail.mapping};
  return true;
}

bool LiveMaps::restore(Removed& removed, LockOwner owner) {
  const LockScope scope(lock_, owner);
  if (!scope.held()) return false;
  if (!reserve_fragments(removed.count)) return false;
  for (std::uint32_t i = 0; i < removed.count; ++i) {
    const Fragment& piece = removed.data()[i];
    mappings_[piece.mapping].size_bytes += piece.end - piece.start;
    insert_fragment(first_ending_after(piece.start), piece);
  }
  drop(removed);
  return true;
}

// Returns what is left of the piece. Precondition: room was reserved.
std::uint64_t LiveMaps::put_at(const Fragment& piece, const Removed& removed, std::uint64_t to,
                               std::uint64_t end) {
  Mapping& mapping = mappings_[piece.mapping];
  Fragment moved{piece.start - removed.start + to, piece.end - removed.start + to, piece.mapping};
  if (piece.end == removed.end || moved.end > end) moved.end = end;
  if (moved.start >= end) {
    --mapping.fragments;
    return 0;
  }
  if (piece.start == mapping.address || mapping.fragments == 1) mapping.address = moved.start;
  mapping.size_bytes += moved.end - moved.start;
  insert_fragment(first_ending_after(moved.start), moved);
  return moved.end - moved.start;
}

void LiveMaps::drop(Removed& removed) {
  if (removed.many) arena_->give_back(removed.many, removed.room * sizeof(Fragment));
  removed.many = nullptr;
  removed.count = 0;
}

bool LiveMaps::kind_at(std::uint64_t address, LockOwner owner, AllocKind& kind) {
  const LockScope scope(lock_, owner);
  if (!scope.held()) return false;
  const std::uint32_t i = first_ending_after(address);
  if (i == fragment_count_ || fragments_[i].start > address) return false;
  kind = mappings_[fragments_[i].mapping].kind;
  return true;
}

std::size_t LiveMaps::copy(Mapping* out, std::size_t room) {
  const LockScope scope(lock_, LockOwner::kSnapshotThread);
  if (!scope.held()) return SIZE_MAX;
  std::size_t copied = 0;
  for (std::uint32_t i = 0; i < mapping_count_; ++i) {
    if (mappings_[i].fragments == 0 || mappings_[i].size_bytes == 0) continue;
    if (copied == room) return SIZE_MAX;
    out[copied++] = mappings_[i];
  }
  return copied;
}

std::uint32_t LiveMaps::repair_after_fork(LockOwner survivor) {
  if (!lock_.reset_after_fork(survivor)) return 0;
  const auto dropped = static_cast<std::uint32_t>(mappings());
  fragments_ = nullptr;  // given up, not given back: what they point at may be half written
  fragment_count_ = fragment_capacity_ = 0;
  mappings_ = nullptr;
  mapping_count_ = mapping_capacity_ = 0;
  set_live(0);
  return dropped;
}

}  // namespace memtrace
