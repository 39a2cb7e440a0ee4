// The randomness of mutators: small and the same everywhere, so that a seed is a finding.
#pragma once

#include <random>

namespace memtrace::fuzz {

using Random = std::minstd_rand;

}  // namespace memtrace::fuzz
