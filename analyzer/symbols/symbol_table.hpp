// Functions of one ELF symbol table, by address.
//
// Points into the ElfFile it was read from, which must outlive it. Thread-safety: const is shareable.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "analyzer/symbols/elf_file.hpp"

namespace memtrace {

enum class SymbolSection { kSymtab, kDynsym };

class SymbolTable {
 public:
  struct Match {
    std::string name;  // as linked, without its version suffix
    std::uint64_t start = 0;
  };

  SymbolTable() = default;
  // Empty when the file has no such table. Sorts once: O(n log n).
  SymbolTable(const ElfFile& file, SymbolSection section);

  // The innermost function symbol that covers `vaddr`; of aliases the most public, plainest name.
  [[nodiscard]] std::optional<Match> find(std::uint64_t vaddr) const;
  [[nodiscard]] bool empty() const { return entries_.empty(); }

 private:
  struct Entry {
    std::uint64_t start;
    std::uint64_t end;  // one past; guessed for symbols of size 0
    std::size_t name;   // offset in the string table
    std::uint8_t binding;
    bool sized;
  };
  [[nodiscard]] Match best_alias(std::size_t index, std::uint64_t vaddr) const;

  Elf* elf_ = nullptr;
  std::size_t strings_ = 0;  // section index of the string table
  std::vector<Entry> entries_;
};

}  // namespace memtrace
