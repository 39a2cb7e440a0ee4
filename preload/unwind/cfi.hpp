// From an object's call frame information (.eh_frame_hdr, .eh_frame) to the step rule of one address.
//
// Called by: the walk, when it meets a return address for the first time (cold, about a microsecond).
// Threads: any; reads only. Signals: safe. Memory: some 300 bytes of stack. What it is given may be damaged:
// it reads inside the range alone, and ends. Formats: DWARF 4 and LSB 5 chapter 10.6, as far as compilers
// for x86-64 use them; anything else is kGuess.
#pragma once

#include <cstdint>

#include "preload/unwind/step_rule.hpp"

namespace memtrace {

// The readable range that holds both tables, and where the header is.
struct CfiTables {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  std::uintptr_t header = 0;  // PT_GNU_EH_FRAME
};

// `address`: inside the call instruction, or the interrupted instruction itself.
[[nodiscard]] StepRule compile_step(const CfiTables& tables, std::uintptr_t address);

}  // namespace memtrace
