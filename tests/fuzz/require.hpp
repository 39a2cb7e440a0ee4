// What a fuzz target says is so: otherwise it ends, and that input is a finding.
#pragma once

#include <cstdlib>

namespace memtrace::fuzz {

inline void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace memtrace::fuzz
