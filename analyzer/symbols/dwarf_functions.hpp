// The functions of one compilation unit: which one holds an address, what is inlined there, how scopes are
// named.
//
// Borrows the Dwarf handle. Thread-safety: one thread at a time.
#pragma once

#include <elfutils/libdw.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "analyzer/symbols/work_left.hpp"

namespace memtrace {

// The unit's entries are walked at most twice, within fixed bounds of depth and of the file's work: first
// only what namespaces hold, which is where compilers put the code of nearly every function, and is over
// quickly because entries say where the next one begins; then, when something was not found there, all of
// them.
class DwarfFunctions {
 public:
  // `work` is the file's, and must outlive this.
  DwarfFunctions(Dwarf_Die unit, WorkLeft& work);

  // The function at `vaddr` and then, each inside the one before, those inlined into it. Empty: none known.
  // The first question about a function lists all that is inlined into it.
  [[nodiscard]] std::vector<Dwarf_Die> chain_at(std::uint64_t vaddr);

  // "outer::Class" for a function entry of this unit (by section offset); empty at file level.
  [[nodiscard]] std::string scope_of(Dwarf_Off function);

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
  struct Inlined {
    Dwarf_Die die;
    std::size_t parent;  // index into the same list; SIZE_MAX: directly in the function
  };
  enum class Depth { kNamespaces, kAll };

  void walk(Depth depth);
  void visit(Dwarf_Die* die, int tag, std::size_t scope);
  [[nodiscard]] const std::pair<Dwarf_Off, std::size_t>* find_scoped(Dwarf_Off function) const;
  [[nodiscard]] std::vector<Inlined> list_inlined(Dwarf_Die function);
  [[nodiscard]] bool covers(Dwarf_Die* die, std::uint64_t vaddr);
  [[nodiscard]] const Range* innermost_at(std::uint64_t vaddr) const;

  Dwarf_Die unit_;
  WorkLeft& work_;
  Depth walked_ = Depth::kNamespaces;
  std::vector<Range> ranges_;                              // by start
  std::vector<Scope> scopes_{Scope{}};                     // [0]: file level
  std::vector<std::pair<Dwarf_Off, std::size_t>> scoped_;  // function offset, index into scopes_; by offset
  std::unordered_map<const void*, std::vector<Inlined>>
      inlined_;  // outer before inner; by the function's address
};

}  // namespace memtrace
