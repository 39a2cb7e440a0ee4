// Which compilation unit holds an address.
//
// Borrows the Dwarf handle, which must outlive it. Thread-safety: one thread at a time.
#pragma once

#include <elfutils/libdw.h>

#include <cstdint>
#include <vector>

#include "analyzer/symbols/work_left.hpp"

namespace memtrace {

class DwarfUnits {
 public:
  // `work` is the file's, and must outlive this.
  DwarfUnits(Dwarf* dwarf, WorkLeft& work) : dwarf_(dwarf), work_(work) {}

  // Quick: from .debug_aranges. Compilers may leave it out, for one unit or for all, so a miss proves
  // nothing.
  [[nodiscard]] std::vector<Dwarf_Die> by_aranges(std::uint64_t vaddr);
  // Complete: from the ranges of every unit. The first call walks all unit headers.
  [[nodiscard]] std::vector<Dwarf_Die> by_walking(std::uint64_t vaddr);

 private:
  struct Range {
    std::uint64_t start;
    std::uint64_t end;
    Dwarf_Die unit;
  };
  void walk();

  Dwarf* dwarf_;
  WorkLeft& work_;
  Dwarf_Aranges* aranges_ = nullptr;
  bool aranges_read_ = false;
  bool walked_ = false;
  std::vector<Range> ranges_;  // by start
};

}  // namespace memtrace
