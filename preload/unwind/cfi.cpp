#include "preload/unwind/cfi.hpp"

#include "preload/unwind/cfi_reader.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

// DWARF numbers of x86-64 registers.
constexpr std::uint64_t kRbpColumn = 6;
constexpr std::uint8_t kRspColumn = 7;
constexpr std::uint64_t kReturnColumn = 16;

// Rows are remembered on the host's stack, which may be small: see the assertion.

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

static_assert(sizeof(Row) <= 64);

struct Cie {
  std::uint64_t code_alignment = 1;
  std::int64_t data_alignment = 1;
  std::uint8_t pointer_encoding = 0;
  bool has_augmentation_data = false;
  bool is_signal_frame = false;
  CfiReader program{0, 0, 0};
};

// An entry's body; kind kCie where the offset is 0.
bool open_entry(const CfiTables& tables, std::uintptr_t at, CfiReader& body, std::uintptr_t& id_at,
                std::uint32_t& id) {
  CfiReader reader(tables.begin, tables.end, at);
  const auto length = reader.get<std::uint32_t>();
  if (!reader.ok() || length == 0 || length >= 0xfffffff0) return false;
  body = reader.part(length);
  id_at = body.at();
  id = body.get<std::uint32_t>();
  return body.ok();
}

bool parse_cie(const CfiTables& tables, std::uintptr_t at, Cie& cie) {
  CfiReader body(0, 0, 0);
  std::uintptr_t id_at = 0;
  std::uint32_t id = 0;
  if (!open_entry(tables, at, body, id_at, id) || id != 0) return false;
  const std::uint8_t version = body.byte();
  if (version != 1 && version != 3) return false;
  char augmentation[8] = {};
  std::size_t letters = 0;
  for (std::uint8_t c = body.byte(); c != 0; c = body.byte()) {
    if (!body.ok() || letters + 1 >= sizeof augmentation) return false;
    augmentation[letters++] = static_cast<char>(c);
  }
  cie.code_alignment = body.uleb();
  cie.data_alignment = body.sleb();
  const std::uint64_t column = version == 1 ? body.byte() : body.uleb();
  if (column != kReturnColumn) return false;
  if (letters > 0) {
    if (augmentation[0] != 'z') return false;
    cie.has_augmentation_data = true;
    CfiReader data = body.part(body.uleb());
    for (std::size_t i = 1; i < letters; ++i) {
      switch (augmentation[i]) {
        case 'R':
          cie.pointer_encoding = data.byte();
          break;
        case 'P':
          data.pointer_value(data.byte());
          break;
        case 'L':
          data.byte();
          break;
        case 'S':
          cie.is_signal_frame = true;
          break;
        default:
          return false;
      }
    }
    if (!data.ok()) return false;
  }
  cie.program = body;
  return body.ok();
}

// Executes call frame instructions for one address.
class Program {
 public:
  Program(const Cie& cie, std::uintptr_t address) : cie_(cie), address_(address) {}

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

// Address of the entry that may cover `address`, by the header's sorted table; 0: none.
std::uintptr_t search_table(const CfiTables& tables, std::uintptr_t address) {
  CfiReader header(tables.begin, tables.end, tables.header);
  const std::uint8_t version = header.byte();
  const std::uint8_t frame_encoding = header.byte();
  const std::uint8_t count_encoding = header.byte();
  const std::uint8_t table_encoding = header.byte();
  if (!header.ok() || version != 1) return 0;
  if (table_encoding != (kPointerDataRelative | kPointerSigned4)) return 0;
  header.pointer_value(frame_encoding);
  const std::uint64_t count = header.pointer_value(count_encoding);
  struct Entry {
    std::int32_t location;
    std::int32_t entry;
  };
  if (!header.ok() || count == 0 || count > (tables.end - header.at()) / sizeof(Entry)) return 0;
  const auto entry_at = [at = header.at()](std::uint64_t i) {
    Entry entry;
    __builtin_memcpy(&entry, reinterpret_cast<const void*>(at + i * sizeof entry), sizeof entry);
    return entry;
  };
  const auto wanted = static_cast<std::int64_t>(address - tables.header);
  std::uint64_t low = 0;
  std::uint64_t high = count;
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2;
    if (entry_at(middle).location <= wanted) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low == 0 ? 0 : tables.header + static_cast<std::uintptr_t>(std::int64_t{entry_at(low - 1).entry});
}

}  // namespace

StepRule compile_step(const CfiTables& tables, std::uintptr_t address) {
  const std::uintptr_t at = search_table(tables, address);
  CfiReader body(0, 0, 0);
  std::uintptr_t id_at = 0;
  std::uint32_t cie_distance = 0;
  if (at == 0 || !open_entry(tables, at, body, id_at, cie_distance) || cie_distance == 0) return kUnknown;
  Cie cie;
  if (!parse_cie(tables, id_at - cie_distance, cie)) return kUnknown;
  const std::uintptr_t begin = body.pointer(cie.pointer_encoding);
  const std::uintptr_t size = body.pointer_value(cie.pointer_encoding);
  if (!body.ok() || address - begin >= size) return kUnknown;
  if (cie.has_augmentation_data) body.skip(body.uleb());

  Program program(cie, address);
  if (!program.run(cie.program, 0)) return kUnknown;
  program.keep_initial();
  if (!program.run(body, begin)) return kUnknown;
  return rule_of(program.row, cie, address);
}

}  // namespace memtrace
