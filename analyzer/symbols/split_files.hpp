// Whether libdw may look for a unit's split debug file (.dwo, made by -gsplit-dwarf).
//
// It looks by itself, opens whatever lies there, a FIFO too, and decompresses it without a bound. So the
// places where it looks are looked at before it may. (Who exchanges a file in between is not seen.)
//
// Called by: DwarfLines, once for each unit that is asked for. Thread-safety: one thread at a time. Input is
// untrusted: names and files.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "analyzer/symbols/elf_file.hpp"
#include "analyzer/symbols/work_left.hpp"

namespace memtrace {

class SplitFiles {
 public:
  // `file` holds the units.
  explicit SplitFiles(const ElfFile& file) : directory_(file.directory()) {}

  // Empty: it may. Else why not, as words to put after the first of the two names that the unit gives. What a
  // split file may cost is taken from `line_bytes_left`, and what it holds is added to `work`.
  [[nodiscard]] std::string refusal(const std::string& name, const std::string& compilation_directory,
                                    std::uint64_t& line_bytes_left, WorkLeft& work);

 private:
  [[nodiscard]] std::string refusal_at(const std::string& path, std::uint64_t& line_bytes_left,
                                       WorkLeft& work);

  std::string directory_;
  // Of all together: a split file is decompressed for each unit that names it.
  std::uint64_t inflated_bytes_left_ = std::uint64_t{4} << 30;
  std::set<std::pair<std::uint64_t, std::uint64_t>> known_;  // device and inode
};

}  // namespace memtrace
