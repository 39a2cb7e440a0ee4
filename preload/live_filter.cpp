#include "preload/live_filter.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {

constinit LiveFilter::Small LiveFilter::open_ = [] {
  Small ones{};
  for (char& byte : ones.bytes) byte = -1;
  return ones;
}();

LiveFilter::Bitmap::Place LiveFilter::Bitmap::place_of(std::uint64_t address) const {
  const Product product = static_cast<Product>(address) * kAddressMultiplier;
  const std::uint64_t word = static_cast<std::uint64_t>(product) >> (packed_ & kShiftMask);
  const std::uint64_t bit = static_cast<std::uint64_t>(product >> 64) & 63;
  Word* const counters = words() + word_count();
  return {words()[word], std::uint64_t{1} << bit, counters[word * kCounterBits + bit / 16],
          static_cast<int>(bit % 16) * kCounterBits};
}

// The counter first, and the bit whatever the counter was: a fork in between leaves it too high.
void LiveFilter::Bitmap::add(std::uint64_t address) const {
  const Place place = place_of(address);
  const std::uint64_t counters = place.counters.load(std::memory_order_relaxed);
  if (((counters >> place.shift) & kCounterMask) != kCounterMask) {
    place.counters.store(counters + (std::uint64_t{1} << place.shift), std::memory_order_relaxed);
  }
  std::atomic_signal_fence(std::memory_order_seq_cst);
  place.word.store(place.word.load(std::memory_order_relaxed) | place.bit, std::memory_order_relaxed);
}

void LiveFilter::Bitmap::remove(std::uint64_t address) const {
  const Place place = place_of(address);
  const std::uint64_t counters = place.counters.load(std::memory_order_relaxed);
  const std::uint64_t count = (counters >> place.shift) & kCounterMask;
  if (count == kCounterMask || count == 0) return;  // once full, it stays: how many there are is not known
  place.counters.store(counters - (std::uint64_t{1} << place.shift), std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (count == 1)
    place.word.store(place.word.load(std::memory_order_relaxed) & ~place.bit, std::memory_order_relaxed);
}

void LiveFilter::Bitmap::set(std::uint64_t address) const {
  const Place place = place_of(address);
  place.word.store(place.word.load(std::memory_order_relaxed) | place.bit, std::memory_order_relaxed);
}

const char* LiveFilter::take(PageArena& arena, int word_bits) const {
  const std::size_t words = std::size_t{1} << word_bits;
  auto* pages = static_cast<const char*>(arena.take(words * sizeof(Word) * (1 + kCounterBits)));
  if (!pages) return nullptr;
  const char* const packed = pages + (64 - word_bits);
  for (std::uint64_t address = fixed_.begin; address < fixed_.end; address += 16) Bitmap(packed).add(address);
  return packed;
}

void LiveFilter::close(Fixed fixed) {
  if (packed_.load(std::memory_order_relaxed) != open_.bytes + kOpenShift) return;
  const char* const packed = closed_.bytes + kClosedShift;
  for (std::uint64_t address = fixed.begin; address < fixed.end; address += 16) Bitmap(packed).set(address);
  packed_.store(packed, std::memory_order_release);
}

bool LiveFilter::start(PageArena& arena, Fixed fixed) {
  fixed_ = fixed;
  const char* first = take(arena, kFirstWordBits);
  if (!first) return false;
  arena_ = &arena;
  grow_at_.store((std::uint64_t{64} << kFirstWordBits) / kBitsPerKey, std::memory_order_relaxed);
  packed_.store(first, std::memory_order_release);
  return true;
}

// `next_` is read before `packed_`, and cleared after that is set: who still sees a next one that is the
// current one already changes it once, and who sees none is at the current one.
template <class Change>
[[gnu::always_inline]] inline void LiveFilter::change_all(bool in_next, Change change) {
  const char* const next = in_next ? next_.load(std::memory_order_acquire) : nullptr;
  const char* const current = packed_.load(std::memory_order_acquire);
  if (next && next != current) change(Bitmap(next));
  change(Bitmap(current));
}

void LiveFilter::add(std::uint64_t address, bool in_next) {
  keys_.fetch_add(1, std::memory_order_relaxed);
  change_all(in_next, [address](const Bitmap& bitmap) { bitmap.add(address); });
}

void LiveFilter::remove(std::uint64_t address, bool in_next) {
  keys_.fetch_sub(1, std::memory_order_relaxed);
  change_all(in_next, [address](const Bitmap& bitmap) { bitmap.remove(address); });
}

LiveFilter::Growth LiveFilter::begin_growth() {
  const std::uint64_t at = grow_at_.load(std::memory_order_relaxed);
  if (keys_.load(std::memory_order_relaxed) <= at || growing_.load(std::memory_order_relaxed)) return {};
  if (growing_.exchange(true, std::memory_order_acquire)) return {};
  old_ = packed_.load(std::memory_order_relaxed);
  const int word_bits = 64 - static_cast<int>(reinterpret_cast<std::uintptr_t>(old_) & kShiftMask);
  // Another thread may have done it since the first look; and who finds no memory does not ask at every key.
  const bool due = grow_at_.load(std::memory_order_relaxed) == at;
  if (due) grow_at_.store(2 * at, std::memory_order_relaxed);
  const char* const next = due && word_bits < kMaxWordBits ? take(*arena_, word_bits + 1) : nullptr;
  if (!next) {
    growing_.store(false, std::memory_order_release);
    return {};
  }
  const std::uint32_t number = growth_number_.load(std::memory_order_relaxed) + 1;
  growth_number_.store(number, std::memory_order_relaxed);
  next_.store(next, std::memory_order_release);
  return {next, number};
}

void LiveFilter::add_to(const Growth& growth, std::uint64_t address) { Bitmap(growth.next).add(address); }

bool LiveFilter::publish(const Growth& growth) {
  if (next_.load(std::memory_order_relaxed) != growth.next) return false;
  packed_.store(growth.next, std::memory_order_release);
  next_.store(nullptr, std::memory_order_release);
  return true;
}

void LiveFilter::end_growth() {
  const Bitmap old(old_);
  arena_->give_back(old.words() + old.word_count(), old.counter_bytes());
  growing_.store(false, std::memory_order_release);
}

// Its memory is left alone: a handler may have forked inside the growth, and return to it.
void LiveFilter::abandon_growth_after_fork() {
  next_.store(nullptr, std::memory_order_relaxed);
  growing_.store(false, std::memory_order_relaxed);
}

}  // namespace memtrace
