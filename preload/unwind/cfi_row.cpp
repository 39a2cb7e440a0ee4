#include "preload/unwind/cfi_row.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

// DWARF expressions, by shape: a register's value with an offset, and what comes after it.
constexpr std::uint8_t kOpDeref = 0x06;
constexpr std::uint8_t kOpPlusConstant = 0x23;
constexpr std::uint8_t kOpBreg0 = 0x70;

bool is_register_plus(CfiReader& expression, std::uint64_t column, std::int64_t& offset) {
  if (expression.byte() != kOpBreg0 + column) return false;
  offset = expression.sleb();
  return expression.ok();
}

bool is_slot_of(CfiReader expression, std::uint64_t column, std::int64_t wanted) {
  std::int64_t offset = 0;
  return is_register_plus(expression, column, offset) && !expression.more() && offset == wanted;
}

bool is_valid(std::int64_t offset) {
  return offset % 8 == 0 && offset > -StepRule::kMaxOffset && offset < StepRule::kMaxOffset;
}

// What binutils emits for .plt: rsp + 8, and 8 more once the stub has pushed its index, which an address
// tells.
bool is_plt(CfiReader expression, std::uintptr_t address, std::int64_t& offset) {
  constexpr std::uint8_t kRip = kOpBreg0 + kReturnColumn;
  constexpr std::uint8_t kLit0 = 0x30;
  if (!is_register_plus(expression, kRspColumn, offset) || offset != 8) return false;
  if (expression.byte() != kRip || expression.sleb() != 0) return false;
  if (expression.byte() != kLit0 + 15 || expression.byte() != 0x1a) return false;  // and
  const std::uint8_t pushed_from = expression.byte() - kLit0;
  if (pushed_from > 15 || expression.byte() != 0x2a) return false;                       // ge
  if (expression.byte() != kLit0 + 3 || expression.byte() != 0x24) return false;         // shl
  if (expression.byte() != 0x22 || expression.more() || !expression.ok()) return false;  // plus
  if ((address & 15) >= pushed_from) offset += 8;
  return true;
}

// Places in the kernel's frame as seen from rsp in the restorer: struct ucontext behind the return address.
constexpr std::int64_t kSignalRbp = 120;
constexpr std::int64_t kSignalRsp = 160;
constexpr std::int64_t kSignalRip = 168;

bool is_signal(const Row& row) {
  CfiReader cfa = row.cfa_expression();
  std::int64_t offset = 0;
  return row.cfa_is_expression && is_register_plus(cfa, kRspColumn, offset) && offset == kSignalRsp &&
         cfa.byte() == kOpDeref && !cfa.more() && row.rbp.how == Saved::How::kExpression &&
         is_slot_of(row.rbp.expression(), kRspColumn, kSignalRbp) &&
         row.return_address.how == Saved::How::kExpression &&
         is_slot_of(row.return_address.expression(), kRspColumn, kSignalRip);
}

constexpr StepRule kUnknown{StepKind::kGuess};

// Where a caller's rbp is in terms of the CFA; 0: elsewhere.
std::uint64_t rbp_slot(const Row& row) {
  switch (row.rbp.how) {
    case Saved::How::kKept:
    case Saved::How::kUndefined:
      return StepRule::kKeptSlot;
    case Saved::How::kAtCfa: {
      const std::int64_t down = -row.rbp.offset;
      if (down % 8 != 0 || down < 16 || down / 8 > static_cast<std::int64_t>(StepRule::kMaxSlot)) return 0;
      return static_cast<std::uint64_t>(down / 8);
    }
    default:
      return 0;
  }
}

StepRule from_expression(const Row& row, std::uintptr_t address) {
  CfiReader cfa = row.cfa_expression();
  std::int64_t offset = 0;
  if (is_plt(cfa, address, offset)) {
    return row.rbp.how == Saved::How::kKept ? StepRule(StepKind::kRsp, offset) : kUnknown;
  }
  CfiReader from_rbp = cfa;
  if (is_register_plus(from_rbp, kRbpColumn, offset) && from_rbp.byte() == kOpDeref && !from_rbp.more()) {
    const bool at_rbp =
        row.rbp.how == Saved::How::kExpression && is_slot_of(row.rbp.expression(), kRbpColumn, 0);
    return at_rbp && is_valid(offset) ? StepRule(StepKind::kRbpAt, offset) : kUnknown;
  }
  if (is_register_plus(cfa, kRspColumn, offset) && cfa.byte() == kOpDeref && cfa.byte() == kOpPlusConstant &&
      cfa.uleb() == 8 && !cfa.more()) {
    const std::uint64_t slot = rbp_slot(row);
    return slot != 0 && is_valid(offset) && offset >= 0 ? StepRule(StepKind::kRspAt, offset, slot) : kUnknown;
  }
  return kUnknown;
}

}  // namespace

StepRule rule_of(const Row& row, const Cie& cie, std::uintptr_t address) {
  if (cie.is_signal_frame) return is_signal(row) ? StepRule(StepKind::kSignal) : kUnknown;
  if (row.return_address.how == Saved::How::kUndefined) return StepRule(StepKind::kEnd);
  const bool at_cfa = row.return_address.how == Saved::How::kAtCfa && row.return_address.offset == -8;
  if (!at_cfa) return kUnknown;
  if (row.cfa_is_expression) return from_expression(row, address);

  if (!is_valid(row.cfa_offset) || row.cfa_offset < 8) return kUnknown;
  const std::uint64_t slot = rbp_slot(row);
  if (row.cfa_register == kRbpColumn && slot != 0) return {StepKind::kRbp, row.cfa_offset, slot};
  if (row.cfa_register == kRspColumn) {
    // Epilogues restore rbp before the tables say so: from a slot that is below rsp by then, which a signal
    // may overwrite, and us; or, at the end of a realigned frame, from where rbp itself pointed.
    const bool popped =
        static_cast<std::int64_t>(slot * 8) > row.cfa_offset ||
        (row.rbp.how == Saved::How::kExpression && is_slot_of(row.rbp.expression(), kRbpColumn, 0));
    if (popped) return {StepKind::kRsp, row.cfa_offset};
    if (slot != 0) return {StepKind::kRsp, row.cfa_offset, slot};
  }
  return kUnknown;
}

}  // namespace memtrace
