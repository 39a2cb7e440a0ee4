// How much more work one file of debug information may cause.
//
// A damaged or hostile file of a few kilobytes can point to the same entries and ranges again and again:
// every table in it is finite, and walking them for every address is not. Honest files stay far below: each
// of their entries is walked three times at most.
//
// Called by: whoever walks entries, ranges or texts, for each. Thread-safety: one thread at a time.
#pragma once

#include <cstdint>

namespace memtrace {

class WorkLeft {
 public:
  static constexpr std::uint64_t kFree = std::uint64_t{1} << 25;
  static constexpr std::uint64_t kForEachByte = 4;  // of the debug information
  static constexpr std::uint64_t kToKeep = 16;      // what is kept costs memory too

  explicit WorkLeft(std::uint64_t debug_bytes) : left_(kFree + kForEachByte * debug_bytes) {}

  // False from the first time on that there is not so much: the caller goes without.
  [[nodiscard]] bool take(std::uint64_t steps = 1) {
    left_ = steps <= left_ ? left_ - steps : 0;
    return left_ != 0;
  }
  // Another file's is done for this one.
  void add(std::uint64_t debug_bytes) {
    if (left_ != 0) left_ += kForEachByte * debug_bytes;
  }
  [[nodiscard]] std::uint64_t left() const { return left_; }

 private:
  std::uint64_t left_;
};

}  // namespace memtrace
