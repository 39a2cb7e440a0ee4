// Compiled rules by return address: two direct-mapped tables of one word a rule. Lock-free; a full table
// overwrites, and what is lost is compiled again.
//
// Called by: the walk (at(), hot: one load), its cold path, the snapshot thread (clear). Any thread,
// signal-safe: a word holds a whole rule and the rest of its address. Memory: page_arena, once, touched where
// used; cleared by giving the pages back, so that a reader sees a rule or nothing.
//
//   first_[address & 0xffff]             tag = address >> 16       straight from the stack slot
//   second_[top bits of address * odd]   tag = its other bits      spreads what collides above
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "preload/sys/page_arena.hpp"
#include "preload/sys/syscalls.hpp"
#include "preload/unwind/step_rule.hpp"

namespace memtrace {

class RuleCache {
 public:
  using Word = std::atomic<std::uint64_t>;
  static constexpr int kFirstBits = 16;  // what place_of() keeps
  static constexpr int kSecondBits = 18;
  static constexpr int kAddressBits = 47;  // of user space

  [[nodiscard]] bool start(PageArena& arena) {
    first_ = static_cast<Word*>(arena.take(kBytes));
    second_ = first_ + kFirstEntries;
    return first_ != nullptr;
  }

  // The place of an address in the first table: its low 16 bits.
  [[nodiscard, gnu::always_inline]] static std::uint16_t place_of(std::uint64_t address) {
    return static_cast<std::uint16_t>(address);
  }
  // The word to compare with is_for(); what it holds otherwise is another address's.
  [[nodiscard, gnu::always_inline]] std::uint64_t at(std::uint16_t place) const {
    return first_[place].load(std::memory_order_relaxed);
  }
  [[nodiscard, gnu::always_inline]] static bool is_for(std::uint64_t word, std::uint64_t address) {
    return word >> StepRule::kBits == address >> kFirstBits;
  }

  // Both questions in one: the word is for this address, and its rule is plain.
  [[nodiscard, gnu::always_inline]] static bool is_plain_for(std::uint64_t word, std::uint64_t address) {
    return word >> (StepRule::kBits - 1) == (address >> kFirstBits) * 2 + 1;
  }

  // Kind kNone: not known. A rule found in the second table moves to the first.
  [[nodiscard]] StepRule find(std::uint64_t address) {
    if (address >> kAddressBits) return {};
    const std::uint64_t mixed = mix(address);
    const std::uint64_t word = second_[mixed >> kSecondTagBits].load(std::memory_order_relaxed);
    const StepRule rule(word);
    if (word >> StepRule::kBits != (mixed & kSecondTagMask) || rule.kind() == StepKind::kNone) return {};
    set_first(address, rule);
    return rule;
  }

  void insert(std::uint64_t address, StepRule rule) {
    if (address >> kAddressBits) return;
    const std::uint64_t mixed = mix(address);
    second_[mixed >> kSecondTagBits].store((mixed & kSecondTagMask) << StepRule::kBits | rule.body(),
                                           std::memory_order_relaxed);
    set_first(address, rule);
  }

  void clear() {
    if (first_) sys::advise(first_, kBytes, MADV_DONTNEED);
  }

 private:
  static constexpr std::size_t kFirstEntries = std::size_t{1} << kFirstBits;
  static constexpr std::size_t kSecondEntries = std::size_t{1} << kSecondBits;
  static constexpr std::size_t kBytes = (kFirstEntries + kSecondEntries) * sizeof(Word);
  static constexpr int kSecondTagBits = kAddressBits - kSecondBits;
  static constexpr std::uint64_t kSecondTagMask = (std::uint64_t{1} << kSecondTagBits) - 1;
  static_assert(kAddressBits - kFirstBits + StepRule::kBits == 64);
  static_assert(kSecondTagBits + StepRule::kBits <= 64);

  // A bijection of 47 bits, so that index and tag together are the address.
  static std::uint64_t mix(std::uint64_t address) {
    return (address * 0x9e3779b97f4a7c15) & ((std::uint64_t{1} << kAddressBits) - 1);
  }
  void set_first(std::uint64_t address, StepRule rule) {
    first_[place_of(address)].store(address >> kFirstBits << StepRule::kBits | rule.body(),
                                    std::memory_order_relaxed);
  }

  Word* first_ = nullptr;
  Word* second_ = nullptr;
};

}  // namespace memtrace
