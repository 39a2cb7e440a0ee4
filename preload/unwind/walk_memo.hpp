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
  static constexpr std::uint32_t kMaxWords = 76;
  static constexpr std::uint32_t kStride = 4;  // words compared between two branches
  static_assert(kMaxWords % kStride == 0);
  struct Words {
    std::uint32_t places[kStride];  // in words above sp - 1
    std::uintptr_t words[kStride];
  };

  std::uintptr_t sp = 0;        // where the walk began; 0: nothing valid
  std::uintptr_t rbp = 0;       // the register then
  std::uintptr_t rbp_mask = 0;  // all ones if the walk used it
  std::atomic<StackId> stack{};
  // Allocations of that stack since they were last added to its own sums.
  std::atomic<std::uint64_t> pending_count{0};
  std::atomic<std::uint64_t> pending_bytes{0};
  // Whether a walk from here would read what that one read. Hot: no branch for each word.
  [[nodiscard, gnu::always_inline, gnu::no_sanitize("address", "thread")]] bool still_holds(
      std::uintptr_t now_sp, std::uintptr_t now_rbp) const {
    if (sp != now_sp) return false;
    const auto* base = reinterpret_cast<const std::uintptr_t*>(now_sp) - 1;
    std::uintptr_t difference = (rbp ^ now_rbp) & rbp_mask;
    difference |= differences(base, read_[0]);
    if (difference != 0) return false;  // walks from one place differ near their beginning, if at all
    for (const Words* group = read_ + 1; group < end_; ++group) difference |= differences(base, *group);
    return difference == 0;
  }

  void begin(std::uintptr_t at_sp, std::uintptr_t at_rbp) {
    sp = 0;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    start_ = at_sp;
    rbp = at_rbp;
    rbp_mask = 0;
    word_count_ = 0;
  }
  void uses_rbp() { rbp_mask = ~std::uintptr_t{0}; }
  // False: too many words to remember.
  [[nodiscard, gnu::always_inline]] bool add(std::uintptr_t at, std::uintptr_t word) {
    const std::uintptr_t place = (at + sizeof word - start_) / sizeof word;
    if (word_count_ == kMaxWords || place > UINT32_MAX) return false;
    add_at(static_cast<std::uint32_t>(place), word);
    return true;
  }
  // Precondition: it has words: each walk read the return address it began with.
  void publish(StackId id) {
    while (word_count_ % kStride != 0)
      add_at(read_[0].places[0], read_[0].words[0]);  // again, to fill a group
    end_ = read_ + word_count_ / kStride;
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
  [[nodiscard, gnu::always_inline, gnu::no_sanitize("address", "thread")]] static std::uintptr_t differences(
      const std::uintptr_t* base, const Words& group) {
    std::uintptr_t difference = 0;
#pragma GCC unroll 4
    for (std::uint32_t i = 0; i < kStride; ++i) difference |= base[group.places[i]] ^ group.words[i];
    return difference;
  }
  [[gnu::always_inline]] void add_at(std::uint32_t place, std::uintptr_t word) {
    Words& group = read_[word_count_ / kStride];
    group.places[word_count_ % kStride] = place;
    group.words[word_count_ % kStride] = word;
    ++word_count_;
  }

  std::uintptr_t start_ = 0;
  std::uint32_t word_count_ = 0;
  const Words* end_ = nullptr;
  Words read_[kMaxWords / kStride];
};
static_assert(sizeof(RememberedWalk) == 1024);

struct WalkMemo {
  static constexpr std::size_t kWalks = 256;

  std::uint8_t latest[kWalks];  // by where a walk begins: the one that held last
  RememberedWalk walks[kWalks];

  // Which walk held last from here.
  [[nodiscard, gnu::always_inline]] std::uint8_t& latest_from(std::uintptr_t sp,
                                                              std::uintptr_t return_address) {
    static_assert(kWalks == 256);
    return latest[(sp ^ return_address * 8) * kMix >> 56];
  }
  void forget_all() {
    for (RememberedWalk& walk : walks) walk.sp = 0;
  }

  static constexpr std::uint64_t kMix = 0x9e3779b97f4a7c15;
};

}  // namespace memtrace
