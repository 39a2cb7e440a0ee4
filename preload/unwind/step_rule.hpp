// How to step from one frame to its caller, for one return address: 33 bits, so that a rule and the part of
// its address that an index does not imply fit into one word that is read in one load and cannot tear.
//
// Called by: the walk (hot), the compiler of rules. Plain values. The registers are x86-64's; another machine
// needs another body behind the same names.
//
//   kind     CFA                  the caller's rbp            return address
//   kRsp     rsp + offset         [CFA - 8 * slot] or kept    [CFA - 8]
//   kRbp     rbp + offset         [CFA - 8 * slot] or kept    [CFA - 8]
//   kRbpAt   [rbp + offset]       [rbp]                       [CFA - 8]      realigned stacks
//   kRspAt   [rsp + offset] + 8   [CFA - 8 * slot] or kept    [CFA - 8]      hand-written code
//   kSignal  the interrupted registers, from the kernel's frame at rsp
//   kEnd     none: the outermost frame
//   kGuess   rbp + 16             [rbp]                       [rbp + 8]      no rules, or none that fit above
#pragma once

#include <cstdint>

namespace memtrace {

enum class StepKind : std::uint8_t { kNone, kRsp, kRbp, kRbpAt, kSignal, kEnd, kGuess, kRspAt };

class StepRule {
 public:
  static constexpr int kBits = 33;
  // The slot of a caller's rbp that was not saved: it is where the return address lies.
  static constexpr std::uint64_t kKeptSlot = 1;
  static constexpr std::uint64_t kMaxSlot = 255;
  static constexpr std::int64_t kMaxOffset = std::int64_t{1} << 24;

  constexpr StepRule() = default;
  constexpr explicit StepRule(std::uint64_t body) : body_(body & ((std::uint64_t{1} << kBits) - 1)) {}
  // offset_bytes: a multiple of 8 below kMaxOffset either way, negative for kRbpAt alone; slot in
  // 1..kMaxSlot.
  constexpr StepRule(StepKind kind, std::int64_t offset_bytes = 0, std::uint64_t slot = kKeptSlot)
      : body_((static_cast<std::uint64_t>(kind) << kKindShift) | (slot << kSlotShift) |
              (static_cast<std::uint64_t>(offset_bytes >> 3) & kOffsetMask)) {}

  [[nodiscard]] constexpr std::uint64_t body() const { return body_; }
  [[nodiscard]] constexpr StepKind kind() const { return static_cast<StepKind>((body_ >> kKindShift) & 7); }
  // kRsp or kRbp: what nearly every step is.
  [[nodiscard]] constexpr bool is_plain() const { return ((body_ >> kKindShift) & 7) - 1 <= 1; }
  [[nodiscard]] constexpr bool from_rbp() const { return (body_ >> (kKindShift + 1)) & 1; }  // of a plain one
  [[nodiscard]] constexpr std::uint64_t offset() const { return (body_ & kOffsetMask) * 8; }
  [[nodiscard]] constexpr std::int64_t signed_offset() const {
    return static_cast<std::int64_t>(body_ << (64 - kOffsetBits)) >> (64 - kOffsetBits - 3);
  }
  [[nodiscard]] constexpr std::uint64_t slot() const { return (body_ >> kSlotShift) & kMaxSlot; }

  friend constexpr bool operator==(StepRule, StepRule) = default;

 private:
  static constexpr int kOffsetBits = 22;
  static constexpr std::uint64_t kOffsetMask = (std::uint64_t{1} << kOffsetBits) - 1;
  static constexpr int kSlotShift = kOffsetBits;
  static constexpr int kKindShift = kSlotShift + 8;
  static_assert(kKindShift + 3 == kBits);

  std::uint64_t body_ = 0;
};

}  // namespace memtrace
