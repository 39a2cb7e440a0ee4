// Everything known about one module: its files, opened on the first question, and the answers from them.
//
// Thread-safety: one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
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

  // The same for many, on all processors when it is worth their while. One answer for each, in their order.
  [[nodiscard]] std::vector<std::vector<SourceFrame>> resolve_all(
      const std::vector<Symbolizer::Question>& questions, const std::function<void()>& step);

  // One sentence each, with the path and the next step.
  [[nodiscard]] std::vector<std::string> notes() const;

 private:
  void open_dwarf(const Module& module, DebugFiles& files);
  void open_lines(const ElfFile& file);
  [[nodiscard]] std::optional<std::uint64_t> vaddr_of(const Module& module, std::uint64_t file_offset) const;
  [[nodiscard]] std::optional<SymbolTable::Match> find_symbol(std::uint64_t vaddr);
  [[nodiscard]] std::vector<SourceFrame> with_symbol(DwarfLines::Answer answer, std::uint64_t vaddr);

  std::unique_ptr<ElfFile> binary_;
  std::unique_ptr<ElfFile> debug_file_;
  std::unique_ptr<ElfFile> alternate_;
  std::unique_ptr<ElfFile> mini_;
  std::unique_ptr<ElfFile> inflated_;            // of the file with the debug information
  std::unique_ptr<ElfFile> inflated_alternate_;  // of alternate_
  const ElfFile* lines_file_ = nullptr;          // what dwarf_ reads
  const ElfFile* lines_alternate_ = nullptr;
  bool split_ = false;                               // some of its units are in files of their own
  std::unique_ptr<DwarfLines> dwarf_;                // borrows the files above
  std::optional<std::vector<SymbolTable>> symbols_;  // best first; read when first needed
  // For names out of symbol tables: long ones may be asked for at a million addresses.
  std::uint64_t symbol_bytes_left_ = std::uint64_t{1} << 30;
  bool helper_gave_up_ = false;  // a thread's own reader of lines
  std::vector<std::string> notes_;
};

}  // namespace memtrace
