// Addresses to function, file and line by the DWARF of one file, inlined frames included.
//
// Borrows the files, which must outlive it. Indexes are built for the units that are asked for.
// Thread-safety: one thread at a time. Input is untrusted.
#pragma once

#include <elfutils/libdw.h>

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "analyzer/symbols/dwarf_functions.hpp"
#include "analyzer/symbols/dwarf_units.hpp"
#include "analyzer/symbols/elf_file.hpp"
#include "analyzer/symbols/split_files.hpp"
#include "analyzer/symbols/symbolizer.hpp"
#include "analyzer/symbols/work_left.hpp"

namespace memtrace {

class DwarfLines {
 public:
  // Null when `file` has no usable DWARF, or needs an alternate file and `alternate` is null.
  [[nodiscard]] static std::unique_ptr<DwarfLines> open(const ElfFile& file, const ElfFile* alternate);
  ~DwarfLines();
  DwarfLines(const DwarfLines&) = delete;
  DwarfLines& operator=(const DwarfLines&) = delete;

  struct Answer {
    std::vector<SourceFrame> frames;  // innermost first; empty when nothing is known
    // The outermost function's name is not a linkage name: a symbol table may know better.
    bool plain_name = false;
  };
  [[nodiscard]] Answer resolve(std::uint64_t vaddr);

  // Whether functions of some unit are in another file (-gsplit-dwarf). Walks the units' heads.
  [[nodiscard]] bool has_split_units();
  [[nodiscard]] std::uint64_t work_left() const { return work_.left(); }
  // Some answer has less than the file could tell: it would have cost more than any honest file's.
  [[nodiscard]] bool gave_up() const { return work_.left() == 0 || line_program_refused_; }
  // The .dwo files that units asked for refer to and that could not be used, each with the reason.
  [[nodiscard]] const std::vector<std::string>& unused_split_files() const { return unused_split_files_; }

 private:
  DwarfLines(Dwarf* dwarf, Dwarf* alternate, const ElfFile& file);
  [[nodiscard]] Answer resolve_in(Dwarf_Die unit, std::uint64_t vaddr);
  [[nodiscard]] Dwarf_Die with_functions(Dwarf_Die unit);
  [[nodiscard]] Dwarf_Die split_unit(Dwarf_Die unit);
  [[nodiscard]] bool may_read_lines(Dwarf_Die unit);
  [[nodiscard]] DwarfFunctions& functions_of(Dwarf_Die unit);
  [[nodiscard]] std::string display_name(const Dwarf_Die& function, bool& plain_name);

  Dwarf* dwarf_;
  Dwarf* alternate_;
  const Elf_Data* line_programs_;                               // null: none
  std::unordered_map<std::uint64_t, bool> line_programs_read_;  // by offset; false: too large
  std::uint64_t line_bytes_left_;
  bool line_program_refused_ = false;
  WorkLeft work_;
  DwarfUnits units_;
  std::unordered_map<const void*, std::unique_ptr<DwarfFunctions>> functions_;  // by the unit entry's address
  SplitFiles split_files_;
  std::unordered_map<const void*, Dwarf_Die> split_units_;  // by the address of the entry that names it
  std::vector<std::string> unused_split_files_;
};

}  // namespace memtrace
