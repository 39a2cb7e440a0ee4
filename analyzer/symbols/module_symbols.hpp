// Everything known about one module: its files, opened on the first question, and the answers from them.
//
// Thread-safety: one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "analyzer/symbols/debug_files.hpp"
#include "analyzer/symbols/dwarf_lines.hpp"
#include "analyzer/symbols/elf_file.hpp"
#include "analyzer/symbols/symbol_table.hpp"
#include "analyzer/symbols/symbolizer.hpp"

namespace memtrace {

class ModuleSymbols {
 public:
  // Opens what it finds. `files` is used only here.
  ModuleSymbols(const Module& module, DebugFiles& files);

  // `module` may be any segment of the same file.
  [[nodiscard]] std::vector<SourceFrame> resolve(const Module& module, std::uint64_t file_offset);

  // One sentence each, with the path and the next step.
  [[nodiscard]] std::vector<std::string> notes() const;

 private:
  void open_dwarf(const Module& module, DebugFiles& files);
  void open_lines(const ElfFile& file);
  [[nodiscard]] std::optional<std::uint64_t> vaddr_of(const Module& module, std::uint64_t file_offset) const;
  [[nodiscard]] std::optional<SymbolTable::Match> find_symbol(std::uint64_t vaddr);

  std::unique_ptr<ElfFile> binary_;
  std::unique_ptr<ElfFile> debug_file_;
  std::unique_ptr<ElfFile> alternate_;
  std::unique_ptr<ElfFile> mini_;
  std::unique_ptr<ElfFile> inflated_;                // of the file with the debug information
  std::unique_ptr<ElfFile> inflated_alternate_;      // of alternate_
  std::unique_ptr<DwarfLines> dwarf_;                // borrows the files above
  std::optional<std::vector<SymbolTable>> symbols_;  // best first; read when first needed
  std::vector<std::string> notes_;
};

}  // namespace memtrace
