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

struct RememberedWalk {
  static constexpr std::uint32_t kMaxWords = 80;

  std::uintptr_t sp = 0;   // where the walk began; 0: nothing valid
  std::uintptr_t rbp = 0;  // the register then; compared if the walk used it
  bool uses_rbp = false;
  std::uint32_t word_count = 0;
  std::atomic<StackId> stack{};
  // Allocations of that stack since they were last added to its own sums.
  std::atomic<std::uint64_t> pending_count{0};
  std::atomic<std::uint64_t> pending_bytes{0};
  std::uint32_t places[kMaxWords];  // in words above sp - 1
  std::uintptr_t words[kMaxWords];

  // Whether a walk from here would read what that one read. Hot: no branch for each word.
  [[nodiscard, gnu::always_inline, gnu::no_sanitize("address", "thread")]] bool still_holds(
      std::uintptr_t now_sp, std::uintptr_t now_rbp) const {
    if (sp != now_sp || (uses_rbp && rbp != now_rbp)) return false;
    const auto* base = reinterpret_cast<const std::uintptr_t*>(now_sp) - 1;
    // Walks from one place differ near their beginning, if at all.
    constexpr std::uint32_t kFirst = 4;
    std::uint32_t i = 0;
    std::uintptr_t difference = 0;
    for (; i < word_count && i < kFirst; ++i) difference |= base[places[i]] ^ words[i];
    if (difference != 0) return false;
    for (; i < word_count; ++i) difference |= base[places[i]] ^ words[i];
    return difference == 0;
  }

  void begin(std::uintptr_t at_sp, std::uintptr_t at_rbp) {
    sp = 0;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    start_ = at_sp;
    rbp = at_rbp;
    uses_rbp = false;
    word_count = 0;
  }
  // False: too many words to remember.
  [[nodiscard, gnu::always_inline]] bool add(std::uintptr_t at, std::uintptr_t word) {
    const std::uintptr_t place = (at + sizeof word - start_) / sizeof word;
    if (word_count == kMaxWords || place > UINT32_MAX) return false;
    places[word_count] = static_cast<std::uint32_t>(place);
    words[word_count++] = word;
    return true;
  }
  void publish(StackId id) {
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
  std::uintptr_t start_ = 0;
};

struct WalkMemo {
  static constexpr std::size_t kWalks = 256;

  std::uint8_t latest[kWalks];  // by where a walk begins: the one that held last
  RememberedWalk walks[kWalks];

  void forget_all() {
    for (RememberedWalk& walk : walks) walk.sp = 0;
  }
};

}  // namespace memtrace
