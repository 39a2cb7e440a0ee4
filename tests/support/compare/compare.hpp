// Captures one stack by the compiled unwinder, by libunwind and by Boost's, and notes where they differ.
//
// Called by: compare/hooks.cpp, on every n-th allocation of a program under libcompare_unwinders.so (a test's
// own preload library). Any thread, signal handlers; errno is kept. Memory: fixed tables. The totals are
// written when the program exits: see report.cpp.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "preload/unwind/unwinder.hpp"

namespace memtrace::compare {

enum class Oracle : std::uint8_t { kLibunwind, kBoost };
inline constexpr std::size_t kOracles = 2;
inline constexpr std::size_t kRoom = 256;
inline constexpr std::size_t kPathBytes = 120;

struct Totals {
  std::atomic<std::uint64_t> stacks{0};
  std::atomic<std::uint64_t> frames{0};
  std::atomic<std::uint64_t> deepest{0};
  std::atomic<std::uint64_t> equal[kOracles]{};
  std::atomic<std::uint64_t> different[kOracles]{};
  std::atomic<std::uint64_t> lost{0};  // differences that found no place in the table
};

enum class Shape : std::uint8_t {
  kTheirsEnds,  // every frame of theirs is ours, and we go on
  kOursEnds,
  kParts,
};

struct Frame {
  std::uint64_t address = 0;
  std::uint64_t offset = 0;  // in its module
  bool has_rules = false;    // libgcc finds an entry for it: for a call there, or for the instruction itself
  char module[kPathBytes] = {};  // its path; program: the executable; -: none
};

// A class of differences: where the last frame that both have is, and how they go on from there.
struct Difference {
  static constexpr std::size_t kShown = 6;
  std::atomic<std::uint64_t> key{0};  // 0: free
  std::atomic<std::uint64_t> count{0};
  std::atomic<bool> complete{false};
  Oracle oracle{};
  Shape shape{};
  // Of the first example, from the last but one that both have.
  std::size_t common = 0;
  Frame ours[kShown];
  Frame theirs[kShown];
};
inline constexpr std::size_t kDifferences = 1024;

extern constinit Totals g_totals;
extern constinit Difference g_differences[kDifferences];

// Opens the oracles. False: one of them is not to be had.
[[nodiscard]] bool start();
void stack_of(Caller caller);

}  // namespace memtrace::compare
