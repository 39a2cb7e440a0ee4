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

enum class StepKind : std::uint8_t { kNone, kRbpAt, kSignal, kEnd, kGuess, kRspAt, kRsp, kRbp };

// Laid out for the walk, which has the word that a rule is the low part of:
//
//   bits 0-2    kind; of a plain one bit 0 says whether it is kRbp
//   bits 3-23   offset in bytes, whose own low bits are zero
//   bits 24-31  slot
//   bit 32      plain: kRsp or kRbp, what nearly every step is
class StepRule {
 public:
  static constexpr int kBits = 33;
  // The slot of a caller's rbp that was not saved: it is where the return address lies.
  static constexpr std::uint64_t kKeptSlot = 1;
  static constexpr std::uint64_t kMaxSlot = 255;
  static constexpr std::int64_t kMaxOffset = std::int64_t{1} << 23;

  constexpr StepRule() = default;
  // What lies above kBits is not the rule's.
  constexpr explicit StepRule(std::uint64_t word) : word_(word) {}
  // offset_bytes: a multiple of 8 below kMaxOffset either way, negative for kRbpAt alone; slot in
  // 1..kMaxSlot.
  constexpr StepRule(StepKind kind, std::int64_t offset_bytes = 0, std::uint64_t slot = kKeptSlot)
      : word_(static_cast<std::uint64_t>(kind) | (static_cast<std::uint64_t>(offset_bytes) & kOffsetMask) |
              (slot << kSlotShift) | (std::uint64_t{kind >= StepKind::kRsp} << kPlainShift)) {}

  [[nodiscard]] constexpr std::uint64_t body() const { return word_ & ((std::uint64_t{1} << kBits) - 1); }
  [[nodiscard]] constexpr StepKind kind() const { return static_cast<StepKind>(word_ & kKindMask); }
  [[nodiscard]] constexpr bool is_plain() const { return word_ >> kPlainShift & 1; }
  [[nodiscard]] constexpr bool from_rbp() const { return word_ & 1; }  // of a plain one
  [[nodiscard]] constexpr std::uint64_t offset() const { return word_ & kOffsetMask; }
  [[nodiscard]] constexpr std::int64_t signed_offset() const {
    constexpr int kAbove = 64 - kSlotShift;
    return static_cast<std::int64_t>((word_ & kOffsetMask) << kAbove) >> kAbove;
  }
  [[nodiscard]] constexpr std::uint64_t slot() const { return (word_ >> kSlotShift) & kMaxSlot; }
  [[nodiscard]] constexpr std::uint64_t slot_bytes() const {
    return (word_ >> (kSlotShift - 3)) & (kMaxSlot * 8);
  }

  friend constexpr bool operator==(StepRule a, StepRule b) { return a.body() == b.body(); }

 private:
  static constexpr std::uint64_t kKindMask = 7;
  static constexpr int kSlotShift = 24;
  static constexpr int kPlainShift = kSlotShift + 8;
  static constexpr std::uint64_t kOffsetMask = ((std::uint64_t{1} << kSlotShift) - 1) & ~kKindMask;
  static_assert(kPlainShift + 1 == kBits);
  static_assert(StepKind::kRsp > StepKind::kRspAt && StepKind::kRbp > StepKind::kRsp);
  static_assert((static_cast<int>(StepKind::kRsp) & 1) == 0 && (static_cast<int>(StepKind::kRbp) & 1) == 1);

  std::uint64_t word_ = 0;
};

}  // namespace memtrace
