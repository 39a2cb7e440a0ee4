#include "analyzer/symbols/dwarf_lines.hpp"

#include <dwarf.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>

#include "analyzer/symbols/demangle.hpp"
#include "analyzer/symbols/dwarf_names.hpp"

namespace memtrace {
namespace {

constexpr std::size_t kMaxUnusedSplitFiles = 8;
// Nothing that a compiler could open is longer. Taking a path apart costs a hundred times its bytes.
constexpr std::size_t kMaxPathBytes = 4096;
// Of line programs. libdw makes a hundred bytes out of each.
constexpr std::uint64_t kFreeLineBytes = 48 << 20;
constexpr std::uint64_t kInfoPerLineByte = 8;  // of .debug_info; compilers write less for lines
constexpr std::uint64_t kTextBytesPerStep = 8;

struct Place {
  std::string file;
  std::uint32_t line = 0;
};

std::string unit_text(Dwarf_Die* unit, unsigned int name) {
  Dwarf_Attribute attribute;
  const char* text = dwarf_formstring(dwarf_attr(unit, name, &attribute));
  return text != nullptr ? std::string(text, strnlen(text, kMaxPathBytes)) : std::string();
}

// libdw joins file and directory but not always the compilation directory.
std::string source_path(Dwarf_Die* unit, const char* name) {
  if (name == nullptr || *name == '\0') return {};
  if (strnlen(name, kMaxPathBytes) == kMaxPathBytes) return {};
  std::filesystem::path path(name);
  if (path.is_relative()) path = unit_text(unit, DW_AT_comp_dir) / path;
  return path.lexically_normal().string();
}

// Decompressed, once libdw has opened the file. An older way of compressing has names of its own.
const Elf_Data* line_programs_of(const ElfFile& file) {
  const Elf_Data* programs = file.section(".debug_line");
  return programs != nullptr ? programs : file.section(".zdebug_line");
}

Place line_at(Dwarf_Die* unit, std::uint64_t vaddr) {
  Dwarf_Line* row = dwarf_getsrc_die(unit, vaddr);
  int line = 0;
  if (row == nullptr || dwarf_lineno(row, &line) != 0) return {};
  return {source_path(unit, dwarf_linesrc(row, nullptr, nullptr)),
          line > 0 ? static_cast<std::uint32_t>(line) : 0};
}

Dwarf_Word number(Dwarf_Die* die, unsigned int name) {
  Dwarf_Attribute attribute;
  Dwarf_Word value = 0;
  return dwarf_formudata(dwarf_attr(die, name, &attribute), &value) == 0 ? value : 0;
}

// Where the inlined function was called from. The file's name comes with the whole line program of its unit.
Place call_place(Dwarf_Die* inlined, bool reads_lines) {
  Dwarf_Die unit;
  Dwarf_Files* files = nullptr;
  std::size_t count = 0;
  if (dwarf_diecu(inlined, &unit, nullptr, nullptr) == nullptr) return {};
  Place place;
  place.line = static_cast<std::uint32_t>(std::min<Dwarf_Word>(number(inlined, DW_AT_call_line), UINT32_MAX));
  const Dwarf_Word index = number(inlined, DW_AT_call_file);
  if (reads_lines && dwarf_hasattr(inlined, DW_AT_call_file) != 0 &&
      dwarf_getsrcfiles(&unit, &files, &count) == 0 && index < count) {
    place.file = source_path(&unit, dwarf_filesrc(files, index, nullptr, nullptr));
  }
  return place;
}

}  // namespace

std::unique_ptr<DwarfLines> DwarfLines::open(const ElfFile& file, const ElfFile* alternate) {
  // Left to itself libdw would look for the alternate file without comparing build-ids.
  if (file.alternate_link() && alternate == nullptr) return nullptr;
  Dwarf* dwarf = file.has_debug_info() ? dwarf_begin_elf(file.elf(), DWARF_C_READ, nullptr) : nullptr;
  if (dwarf == nullptr) return nullptr;
  Dwarf* alternate_dwarf = nullptr;
  if (alternate != nullptr) {
    alternate_dwarf = dwarf_begin_elf(alternate->elf(), DWARF_C_READ, nullptr);
    if (alternate_dwarf == nullptr) {
      dwarf_end(dwarf);
      return nullptr;
    }
    dwarf_setalt(dwarf, alternate_dwarf);
  }
  return std::unique_ptr<DwarfLines>(new DwarfLines(dwarf, alternate_dwarf, file));
}

DwarfLines::DwarfLines(Dwarf* dwarf, Dwarf* alternate, const ElfFile& file)
    : dwarf_(dwarf),
      alternate_(alternate),
      line_programs_(line_programs_of(file)),
      line_bytes_left_(kFreeLineBytes + file.section_bytes(".debug_info") / kInfoPerLineByte),
      work_(file.section_bytes(".debug_info")),
      units_(dwarf, work_),
      split_files_(file) {}

DwarfLines::~DwarfLines() {
  functions_.clear();
  dwarf_end(dwarf_);
  dwarf_end(alternate_);
}

bool DwarfLines::has_split_units() {
  Dwarf_CU* unit = nullptr;
  std::uint8_t type = 0;
  while (dwarf_get_units(dwarf_, unit, &unit, nullptr, &type, nullptr, nullptr) == 0) {
    if (type == DW_UT_skeleton) return true;
  }
  return false;
}

DwarfLines::Answer DwarfLines::resolve(std::uint64_t vaddr) {
  Answer best;
  for (const bool walking : {false, true}) {
    for (const Dwarf_Die& unit : walking ? units_.by_walking(vaddr) : units_.by_aranges(vaddr)) {
      Answer answer = resolve_in(unit, vaddr);
      // A unit without a function here may have a stray range: another one may do better.
      if (!answer.frames.empty() && !answer.frames.back().function.empty()) return answer;
      if (best.frames.empty()) best = std::move(answer);
    }
    if (!best.frames.empty()) break;
  }
  return best;
}

DwarfLines::Answer DwarfLines::resolve_in(Dwarf_Die unit, std::uint64_t vaddr) {
  Answer answer;
  std::vector<Dwarf_Die> chain = functions_of(with_functions(unit)).chain_at(vaddr);
  const bool reads_lines = may_read_lines(unit);
  Place place = reads_lines ? line_at(&unit, vaddr) : Place();
  if (chain.empty()) {
    if (place.line != 0 || !place.file.empty()) {
      answer.frames.push_back({std::string(), std::move(place.file), place.line, false});
      answer.plain_name = true;
    }
    return answer;
  }
  for (std::size_t i = chain.size(); i > 0; --i) {
    Dwarf_Die& function = chain[i - 1];
    const bool inlined = i > 1;
    std::string name = display_name(function, answer.plain_name);
    if (!work_.take((name.size() + place.file.size()) / kTextBytesPerStep)) name.clear();
    answer.frames.push_back({std::move(name), std::move(place.file), place.line, inlined});
    if (inlined) place = call_place(&function, reads_lines);
  }
  return answer;
}

// libdw reads the whole of a unit's line program at the first question, and keeps it.
bool DwarfLines::may_read_lines(Dwarf_Die unit) {
  Dwarf_Attribute attribute;
  Dwarf_Word offset = 0;
  std::uint32_t size = 0;
  if (line_programs_ == nullptr ||
      dwarf_formudata(dwarf_attr(&unit, DW_AT_stmt_list, &attribute), &offset) != 0 ||
      offset > line_programs_->d_size || line_programs_->d_size - offset < sizeof size) {
    return true;
  }
  const auto [known, is_new] = line_programs_read_.try_emplace(offset, false);
  if (!is_new) return known->second;
  std::memcpy(&size, static_cast<const char*>(line_programs_->d_buf) + offset, sizeof size);
  const std::uint64_t bytes = std::min<std::uint64_t>(size, line_programs_->d_size - offset);
  known->second = bytes <= line_bytes_left_;
  if (known->second) {
    line_bytes_left_ -= bytes;
  } else {
    line_program_refused_ = true;
  }
  return known->second;
}

// The entry below which the functions are: with -gsplit-dwarf it lies in another file.
Dwarf_Die DwarfLines::with_functions(Dwarf_Die unit) {
  std::uint8_t type = 0;
  if (dwarf_cu_info(unit.cu, nullptr, &type, nullptr, nullptr, nullptr, nullptr, nullptr) != 0 ||
      type != DW_UT_skeleton)
    return unit;
  const auto [known, is_new] = split_units_.try_emplace(unit.addr, unit);
  if (is_new) known->second = split_unit(unit);
  return known->second;
}

// libdw opens the file when it is asked for the unit.
Dwarf_Die DwarfLines::split_unit(Dwarf_Die unit) {
  std::string name = unit_text(&unit, DW_AT_dwo_name);
  if (name.empty()) name = unit_text(&unit, DW_AT_GNU_dwo_name);
  const std::string refusal =
      split_files_.refusal(name, unit_text(&unit, DW_AT_comp_dir), line_bytes_left_, work_);
  Dwarf_Die split{};
  if (refusal.empty() &&
      dwarf_cu_info(unit.cu, nullptr, nullptr, nullptr, &split, nullptr, nullptr, nullptr) == 0 &&
      split.cu != nullptr)
    return split;
  if (unused_split_files_.size() < kMaxUnusedSplitFiles) {
    const std::string why = refusal.empty() ? "not found" : "not used: " + refusal;
    std::string unused = source_path(&unit, name.c_str()) + ": split debug file " + why;
    if (std::ranges::find(unused_split_files_, unused) == unused_split_files_.end())
      unused_split_files_.push_back(std::move(unused));
  }
  return unit;
}

DwarfFunctions& DwarfLines::functions_of(Dwarf_Die unit) {
  auto& functions = functions_[unit.addr];
  if (functions == nullptr) functions = std::make_unique<DwarfFunctions>(unit, work_);
  return *functions;
}

std::string DwarfLines::display_name(const Dwarf_Die& function, bool& plain_name) {
  const FunctionName name = function_name(function);
  plain_name = name.linkage.empty();
  if (!plain_name) return demangle(name.linkage);
  Dwarf_Die declaration = name.declaration;
  Dwarf_Die unit;
  if (declaration.addr == nullptr || dwarf_diecu(&declaration, &unit, nullptr, nullptr) == nullptr)
    return name.plain;
  const std::string scope = functions_of(unit).scope_of(dwarf_dieoffset(&declaration));
  return scope.empty() ? name.plain : scope + "::" + name.plain;
}

}  // namespace memtrace
