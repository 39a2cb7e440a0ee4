// A thread's memory of its recent walks, for recording every allocation: the words that a walk read, and the
// stack that came of it. While the same words stand at the same places, the same walk gives the same stack:
// a walk is a function of the words that it reads and of the rules, and every one of the words is compared.
//
// Called by: the tracker, at each recorded allocation (hot in mode all). Threads: the owner alone; a snapshot
// reads the pending sums. Signals: a handler inside a hook passes through (InHook), and an entry is invalid
// while it is written. Memory: page_arena, kBytes a thread, touched where used. Full: older walks give way.
//
// Only walks inside the thread's own stack, by plain rules, are remembered: their words can be read as long
// as the thread lives.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "format/types.hpp"

namespace memtrace {

// Of the rules: walks by older ones are not to be reused.
inline constinit std::atomic<std::uint64_t> g_rules_generation{1};

struct alignas(64) RememberedWalk {
  static constexpr std::size_t kMaxWords = 56;
  static constexpr std::size_t kStride = 4;  // words compared between two branches
  static_assert(kMaxWords % kStride == 0);

  std::uintptr_t sp = 0;        // where the walk began; 0: nothing valid
  std::uint64_t stamp = 0;      // whose walk, by which rules: see ThreadSlab
  std::uintptr_t rbp = 0;       // the register then
  std::uintptr_t rbp_mask = 0;  // all ones if the walk used it
  std::atomic<StackId> stack{};
  // Allocations of that stack since they were last added to its own sums.
  std::atomic<std::uint64_t> pending_count{0};
  std::atomic<std::uint64_t> pending_bytes{0};
  // Whether a walk from here would read what that one read. Hot: a branch for four words.
  [[nodiscard, gnu::always_inline, gnu::no_sanitize("address", "thread")]] bool still_holds(
      std::uintptr_t now_sp, std::uintptr_t now_rbp, std::uint64_t now_stamp) const {
    if (sp != now_sp || stamp != now_stamp) return false;
    const auto* base = reinterpret_cast<const std::uintptr_t*>(now_sp) - 1;
    if (((rbp ^ now_rbp) & rbp_mask) != 0) return false;
    std::size_t i = 0;
    do {
      if (differences(base, i) != 0) return false;
      i += kStride;
    } while (i < word_count_);
    return true;
  }

  void begin(std::uintptr_t at_sp, std::uintptr_t at_rbp, std::uint64_t by_stamp) {
    sp = 0;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    start_ = at_sp;
    stamp = by_stamp;
    rbp = at_rbp;
    rbp_mask = 0;
    word_count_ = 0;
  }
  void uses_rbp() { rbp_mask = ~std::uintptr_t{0}; }
  // The i-th word that the walk depends on.
  [[gnu::always_inline]] void note(std::size_t i, std::uintptr_t at, std::uintptr_t word) {
    if (i >= kMaxWords) return;
    places_[i] = static_cast<std::uint16_t>(place_of(at));
    words_[i] = word;
  }
  // False: too many words to remember, or too far away. `highest`: where none lies above.
  [[nodiscard]] bool complete(std::size_t words, std::uintptr_t highest) {
    word_count_ = words;
    return words <= kMaxWords && place_of(highest) <= UINT16_MAX;
  }
  // Precondition: it is complete, and has words: each walk read the return address it began with.
  void publish(StackId id) {
    for (; word_count_ % kStride != 0; ++word_count_) {  // again, to fill the stride
      places_[word_count_] = places_[0];
      words_[word_count_] = words_[0];
    }
    stack.store(id, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    sp = start_;
  }

  void count(std::uint64_t allocations, std::uint64_t bytes) {
    pending_bytes.store(pending_bytes.load(std::memory_order_relaxed) + bytes, std::memory_order_relaxed);
    // Who sees the count sees whose it is.
    pending_count.store(pending_count.load(std::memory_order_relaxed) + allocations,
                        std::memory_order_release);
  }

 private:
  [[nodiscard, gnu::always_inline, gnu::no_sanitize("address", "thread")]] std::uintptr_t differences(
      const std::uintptr_t* base, std::size_t from) const {
    const std::uint16_t* const places = places_ + from;
    const std::uintptr_t* const words = words_ + from;
    std::uintptr_t difference = 0;
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kStride; ++i) difference |= base[places[i]] ^ words[i];
    return difference;
  }

  [[nodiscard]] std::uintptr_t place_of(std::uintptr_t at) const {
    return (at + sizeof(std::uintptr_t) - start_) / sizeof(std::uintptr_t);
  }

  std::uintptr_t start_ = 0;
  std::size_t word_count_ = 0;
  std::uint16_t places_[kMaxWords];  // in words above sp - 1
  std::uintptr_t words_[kMaxWords];
};
static_assert(sizeof(RememberedWalk) == 640);

struct WalkMemo {
  static constexpr int kSetBits = 7;
  static constexpr std::size_t kSets = std::size_t{1} << kSetBits;
  // Walks that agree in what chooses their set, as in a recursion, would drive one another out of a single
  // place.
  static constexpr std::size_t kWays = 4;
  static constexpr int kWalkBits = 9;
  static constexpr std::size_t kWalks = kSets * kWays;
  static_assert(kWalks == std::size_t{1} << kWalkBits);

  // Programs repeat themselves: which walk comes next is told by where it begins and by the two before it. In
  // python's json one guess in three by the place alone was wrong, and the set had to be searched; now one in
  // twenty.
  static constexpr int kGuessBits = 11;
  std::uint16_t guesses[std::size_t{1} << kGuessBits];  // the walk that held last in that case
  std::uint64_t history;                                // the walks before, the last one lowest
  std::uint8_t oldest[kSets];
  RememberedWalk walks[kWalks];

  [[nodiscard, gnu::always_inline]] std::uint16_t& guess_from(std::uintptr_t sp,
                                                              std::uintptr_t return_address) {
    constexpr std::uint64_t kTwo = (std::uint64_t{1} << 2 * kWalkBits) - 1;
    return guesses[(sp ^ return_address * 8 ^ (history & kTwo) << 30) * kMix >> (64 - kGuessBits)];
  }
  [[gnu::always_inline]] void remember(std::size_t walk) { history = history << kWalkBits ^ walk; }
  // That of a set which holds, or the one that gives way to a new one.
  struct Place {
    RememberedWalk* walk;
    bool holds;
  };
  [[nodiscard]] Place look_up(std::uint64_t hash, std::uintptr_t sp, std::uintptr_t rbp, std::uint64_t stamp,
                              std::uint16_t& guess) {
    const std::size_t set = hash >> (64 - kSetBits);
    for (std::size_t i = set * kWays; i < (set + 1) * kWays; ++i) {
      if (!walks[i].still_holds(sp, rbp, stamp)) continue;
      guess = static_cast<std::uint16_t>(i);
      remember(i);
      return {&walks[i], true};
    }
    const std::size_t i = set * kWays + oldest[set]++ % kWays;
    guess = static_cast<std::uint16_t>(i);
    remember(i);
    return {&walks[i], false};
  }

  static constexpr std::uint64_t kMix = 0x9e3779b97f4a7c15;
};

}  // namespace memtrace
