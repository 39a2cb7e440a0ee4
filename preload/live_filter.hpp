// Which addresses may be in the live table: a bitmap over a hash of the address, with a counter behind each
// bit.
//
// Called by: every free and realloc (may_contain: hot, ten instructions, one of them a load of shared state
// that changes only when the filter grows); insert and erase of the live table. Threads: may_contain from
// any; add and remove under the lock of the shard that owns the address: a word of the bitmap and its
// counters belong to one shard, so neither needs an atomic read-modify-write. Signals: plain loads and
// stores. Memory: page_arena, 40 bytes for 64 bits, of which 8 stay when a larger one has taken over.
//
//   packed_ -> word[64 - shift bits of the hash] = 64 bits,  behind the words 64 counters of 4 bits for each
//
// Never a false negative: a counter is too high after a fork in the wrong moment, or once it was full, never
// too low. A filter without memory answers "maybe" to everything, and so does one that was not started.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "preload/sys/page_arena.hpp"

namespace memtrace {

// Fibonacci hashing: the high bits of the product are well mixed, whatever the alignment of the address.
inline constexpr std::uint64_t kAddressMultiplier = 0x9e3779b97f4a7c15;
[[nodiscard, gnu::always_inline]] inline std::uint64_t address_hash(std::uint64_t address) {
  return address * kAddressMultiplier;
}

class LiveFilter {
 public:
  // 8 KiB of bits: in the first-level cache beside the host's own data. It doubles when more than one bit in
  // kBitsPerKey is set: between 1.6 and 3.1 % of the frees are looked up in vain, whatever the number of
  // keys.
  static constexpr int kFirstWordBits = 10;
  static constexpr int kMaxWordBits = 22;
  static constexpr std::uint64_t kBitsPerKey = 32;

  // Addresses that it says "maybe" to for ever: multiples of 16 in a range.
  struct Fixed {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };

  // Counting from here on. False, and as before, if there is no memory. Before any address is added.
  [[nodiscard]] bool start(PageArena& arena, Fixed fixed);
  // If it was never started: "no" from here on, but for what is fixed.
  void close(Fixed fixed);

  // Hot. False: `address` is certainly not there.
  [[nodiscard, gnu::always_inline]] bool may_contain(std::uint64_t address) const {
    // The pointer's low six bits are the shift that makes a hash an index, so that one load gets both.
    const auto packed = reinterpret_cast<std::uintptr_t>(packed_.load(std::memory_order_relaxed));
    const Product product = static_cast<Product>(kAddressMultiplier) * address;
    const Word& word = words_of(packed)[static_cast<std::uint64_t>(product) >> (packed & kShiftMask)];
    return (word.load(std::memory_order_relaxed) >> (static_cast<std::uint64_t>(product >> 64) & 63)) & 1;
  }

  [[nodiscard]] bool counting() const { return arena_ != nullptr; }

  // Under the lock of the address's shard. `in_next`: the shard's addresses are in the larger filter already.
  void add(std::uint64_t address, bool in_next);
  void remove(std::uint64_t address, bool in_next);

  // Growth. One thread fills the larger filter shard by shard, each under its lock; from then on that shard's
  // changes go to both; at last frees ask the larger one. Each shard that was passed to add_to is marked with
  // the number. Who cannot finish for want of a lock leaves it at that: it does not grow again.
  struct Growth {
    const char* next = nullptr;  // nullptr: none is due
    std::uint32_t number = 0;
  };
  [[nodiscard]] Growth begin_growth();
  static void add_to(const Growth& growth, std::uint64_t address);
  // False: a handler's fork gave it up.
  [[nodiscard]] bool publish(const Growth& growth);
  // Every shard's lock was had since: nobody changes the old counters any more, and the next growth may
  // begin. The old bits stay, for threads that were about to ask them.
  void end_growth();
  // The number of the growth whose shards' changes go to both; 0: none.
  [[nodiscard]] std::uint32_t growth_in_progress() const {
    return next_.load(std::memory_order_acquire) ? growth_number_.load(std::memory_order_relaxed) : 0;
  }
  // In a forked child whose parent was at it.
  void abandon_growth_after_fork();

 private:
  __extension__ using Product = unsigned __int128;
  using Word = std::atomic<std::uint64_t>;
  static constexpr std::uintptr_t kShiftMask = 63;
  static constexpr int kCounterBits = 4;
  static constexpr std::uint64_t kCounterMask = (1 << kCounterBits) - 1;

  // Bitmaps without counters: two words of ones, and for each filter eight words for what is fixed.
  struct alignas(64) Small {
    char bytes[64];
  };
  static constinit Small open_;
  static constexpr int kOpenShift = 63;
  static constexpr int kClosedShift = 61;

  // Bitmap and counters as one pointer, see may_contain.
  class Bitmap {
   public:
    explicit Bitmap(const char* packed) : packed_(reinterpret_cast<std::uintptr_t>(packed)) {}
    [[nodiscard]] std::uint64_t word_count() const {
      return std::uint64_t{1} << (64 - (packed_ & kShiftMask));
    }
    [[nodiscard]] Word* words() const { return words_of(packed_); }
    [[nodiscard]] std::size_t bitmap_bytes() const { return word_count() * sizeof(Word); }
    [[nodiscard]] std::size_t counter_bytes() const { return bitmap_bytes() * kCounterBits; }
    void add(std::uint64_t address) const;
    void remove(std::uint64_t address) const;
    void set(std::uint64_t address) const;

   private:
    struct Place {
      Word& word;
      std::uint64_t bit;
      Word& counters;
      int shift;
    };
    [[nodiscard]] Place place_of(std::uint64_t address) const;
    std::uintptr_t packed_;
  };

  [[gnu::always_inline]] static Word* words_of(std::uintptr_t packed) {
    return reinterpret_cast<Word*>(packed & ~kShiftMask);
  }
  [[nodiscard]] const char* take(PageArena& arena, int word_bits) const;
  template <class Change>
  void change_all(bool in_next, Change change);

  std::atomic<const char*> packed_{open_.bytes + kOpenShift};
  Fixed fixed_;
  PageArena* arena_ = nullptr;
  std::atomic<const char*> next_{nullptr};
  const char* old_ = nullptr;  // of the growth in progress
  std::atomic<std::uint32_t> growth_number_{0};
  std::atomic<std::uint32_t> keys_{0};
  std::atomic<std::uint64_t> grow_at_{0};
  std::atomic<bool> growing_{false};
  Small closed_{};
};

}  // namespace memtrace
