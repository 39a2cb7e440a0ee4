// The functions of one compilation unit: which one holds an address, what is inlined there, how scopes are
// named.
//
// Borrows the Dwarf handle. Thread-safety: const is not shareable (libdw reads lazily).
#pragma once

#include <elfutils/libdw.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace memtrace {

class DwarfFunctions {
 public:
  // Walks the unit's entries once, within fixed bounds of depth and number.
  explicit DwarfFunctions(Dwarf_Die unit);

  // The function at `vaddr` and then, each inside the one before, those inlined into it. Empty: none known.
  [[nodiscard]] std::vector<Dwarf_Die> chain_at(std::uint64_t vaddr) const;

  // "outer::Class" for a function entry of this unit (by section offset); empty at file level.
  [[nodiscard]] std::string scope_of(Dwarf_Off function) const;

 private:
  struct Range {
    std::uint64_t start;
    std::uint64_t end;
    Dwarf_Die function;
  };
  struct Scope {
    Dwarf_Die die;
    std::size_t parent;  // index into scopes_
  };
  void visit(Dwarf_Die* die, int tag, std::size_t scope);
  [[nodiscard]] const Range* innermost_at(std::uint64_t vaddr) const;

  std::vector<Range> ranges_;                              // by start
  std::vector<Scope> scopes_{Scope{}};                     // [0]: file level
  std::vector<std::pair<Dwarf_Off, std::size_t>> scoped_;  // function offset, index into scopes_; by offset
};

}  // namespace memtrace
