// One row of call frame information, how it becomes a step rule, and the instructions that make rows.
//
// Called by: cfi.cpp alone, cold. Plain values on the caller's stack; no memory of their own. What they are
// given may be damaged: an unknown instruction ends the program, an unknown shape is kGuess.
#pragma once

#include <cstdint>

#include "preload/unwind/cfi_reader.hpp"
#include "preload/unwind/step_rule.hpp"

namespace memtrace {

// DWARF numbers of x86-64 registers.
inline constexpr std::uint64_t kRbpColumn = 6;
inline constexpr std::uint8_t kRspColumn = 7;
inline constexpr std::uint64_t kReturnColumn = 16;

// Where a register was saved, as far as steps can use it.
struct Saved {
  enum class How : std::uint8_t { kKept, kUndefined, kAtCfa, kExpression, kOther };
  How how = How::kKept;
  union {
    std::int64_t offset = 0;  // kAtCfa
    std::uintptr_t expression_at;
  };
  std::uint32_t expression_size = 0;

  [[nodiscard]] CfiReader expression() const {
    return {expression_at, expression_at + expression_size, expression_at};
  }
};

struct Row {
  bool cfa_is_expression = false;
  std::uint8_t cfa_register = kRspColumn;
  std::uint32_t cfa_expression_size = 0;
  union {
    std::int64_t cfa_offset = 0;
    std::uintptr_t cfa_expression_at;
  };
  Saved rbp;
  Saved return_address;

  [[nodiscard]] CfiReader cfa_expression() const {
    return {cfa_expression_at, cfa_expression_at + cfa_expression_size, cfa_expression_at};
  }
  Saved* column(std::uint64_t number) {
    return number == kRbpColumn ? &rbp : number == kReturnColumn ? &return_address : nullptr;
  }
};

static_assert(sizeof(Row) <= 64, "some are remembered on the host's stack, which may be small");

struct Cie {
  std::uint64_t code_alignment = 1;
  std::int64_t data_alignment = 1;
  std::uint8_t pointer_encoding = 0;
  bool has_augmentation_data = false;
  bool is_signal_frame = false;
  CfiReader program{0, 0, 0};
};

// Executes call frame instructions for one address.
class CfiProgram {
 public:
  CfiProgram(const Cie& cie, std::uintptr_t address) : cie_(cie), address_(address) {}

  // False: instructions that we do not know.
  bool run(CfiReader code, std::uintptr_t location) {
    location_ = location;
    while (code.more()) {
      const std::uint8_t op = code.byte();
      const std::uint8_t low = op & 0x3f;
      bool known = true;
      switch (op >> 6) {
        case 1:
          location_ += low * cie_.code_alignment;
          break;
        case 2:
          save(low, static_cast<std::int64_t>(code.uleb()) * cie_.data_alignment);
          break;
        case 3:
          restore(low);
          break;
        default:
          known = extended(low, code);
      }
      if (!known || !code.ok()) return false;
      if (location_ > address_) break;  // what follows holds from there on
    }
    return code.ok();
  }

  Row row;

  void keep_initial() { initial_ = row; }

 private:
  bool extended(std::uint8_t op, CfiReader& code) {
    switch (op) {
      case 0x00:  // nop
        return true;
      case 0x01:  // set_loc
        location_ = code.pointer(cie_.pointer_encoding);
        return true;
      case 0x02:  // advance_loc1, 2, 4
        location_ += code.byte() * cie_.code_alignment;
        return true;
      case 0x03:
        location_ += code.get<std::uint16_t>() * cie_.code_alignment;
        return true;
      case 0x04:
        location_ += code.get<std::uint32_t>() * cie_.code_alignment;
        return true;
      case 0x05: {  // offset_extended
        const std::uint64_t column = code.uleb();
        save(column, static_cast<std::int64_t>(code.uleb()) * cie_.data_alignment);
        return true;
      }
      case 0x06:  // restore_extended
        restore(code.uleb());
        return true;
      case 0x07:  // undefined
        set(code.uleb(), Saved::How::kUndefined);
        return true;
      case 0x08:  // same_value
        set(code.uleb(), Saved::How::kKept);
        return true;
      case 0x09:  // register
        set(code.uleb(), Saved::How::kOther);
        code.uleb();
        return true;
      case 0x0a:  // remember_state
        if (depth_ == kMaxDepth) return false;
        remembered_[depth_++] = row;
        return true;
      case 0x0b:  // restore_state
        if (depth_ == 0) return false;
        row = remembered_[--depth_];
        return true;
      case 0x0c:  // def_cfa
        row.cfa_is_expression = false;
        set_cfa_register(code.uleb());
        row.cfa_offset = static_cast<std::int64_t>(code.uleb());
        return true;
      case 0x0d:  // def_cfa_register
        if (row.cfa_is_expression) return false;
        set_cfa_register(code.uleb());
        return true;
      case 0x0e:  // def_cfa_offset
        if (row.cfa_is_expression) return false;
        row.cfa_offset = static_cast<std::int64_t>(code.uleb());
        return true;
      case 0x0f:  // def_cfa_expression
        row.cfa_is_expression = true;
        take_expression(code, row.cfa_expression_at, row.cfa_expression_size);
        return true;
      case 0x10:  // expression
        set_expression(code);
        return true;
      case 0x11: {  // offset_extended_sf
        const std::uint64_t column = code.uleb();
        save(column, code.sleb() * cie_.data_alignment);
        return true;
      }
      case 0x12:  // def_cfa_sf
        row.cfa_is_expression = false;
        set_cfa_register(code.uleb());
        row.cfa_offset = code.sleb() * cie_.data_alignment;
        return true;
      case 0x13:  // def_cfa_offset_sf
        if (row.cfa_is_expression) return false;
        row.cfa_offset = code.sleb() * cie_.data_alignment;
        return true;
      case 0x14:  // val_offset, val_offset_sf
      case 0x15:
        set(code.uleb(), Saved::How::kOther);
        code.uleb();
        return true;
      case 0x16:  // val_expression
        set(code.uleb(), Saved::How::kOther);
        code.skip(code.uleb());
        return true;
      case 0x2e:  // GNU_args_size
        code.uleb();
        return true;
      default:
        return false;
    }
  }

  void set_cfa_register(std::uint64_t number) {
    row.cfa_register = static_cast<std::uint8_t>(number < UINT8_MAX ? number : UINT8_MAX);
  }
  static void take_expression(CfiReader& code, std::uintptr_t& at, std::uint32_t& size) {
    const std::uint64_t bytes = code.uleb();
    at = code.at();
    code.skip(bytes);
    size = code.ok() ? static_cast<std::uint32_t>(bytes) : 0;  // within an entry, whose length has 32 bits
  }

  void set(std::uint64_t column, Saved::How how) {
    if (Saved* saved = row.column(column)) saved->how = how;
  }
  void save(std::uint64_t column, std::int64_t offset) {
    if (Saved* saved = row.column(column)) {
      saved->how = Saved::How::kAtCfa;
      saved->offset = offset;
    }
  }
  void set_expression(CfiReader& code) {
    Saved other;
    Saved* saved = row.column(code.uleb());
    if (!saved) saved = &other;
    saved->how = Saved::How::kExpression;
    take_expression(code, saved->expression_at, saved->expression_size);
  }
  void restore(std::uint64_t column) {
    if (Saved* saved = row.column(column)) *saved = *initial_.column(column);
  }

  static constexpr int kMaxDepth = 4;

  const Cie& cie_;
  const std::uintptr_t address_;
  std::uintptr_t location_ = 0;
  Row initial_;
  Row remembered_[kMaxDepth];
  int depth_ = 0;
};

// What a row of an entry with this header means for the instruction at `address`.
[[nodiscard]] StepRule rule_of(const Row& row, const Cie& cie, std::uintptr_t address);

}  // namespace memtrace
