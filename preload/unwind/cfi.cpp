#include "preload/unwind/cfi.hpp"

#include "preload/unwind/cfi_row.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

constexpr StepRule kUnknown{StepKind::kGuess};

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

  CfiProgram program(cie, address);
  if (!program.run(cie.program, 0)) return kUnknown;
  program.keep_initial();
  if (!program.run(body, begin)) return kUnknown;
  return rule_of(program.row, cie, address);
}

}  // namespace memtrace
