// Tables for integer-only sampling arithmetic (P: no floating point in the hooks). Computed at compile time.
// Called by: sampler.cpp, cold. Read-only data.
#pragma once

#include <array>
#include <cstdint>

namespace memtrace {

// log2(1 + i/1024) * 2^32, i = 0..1024. Linear interpolation errs by at most 2e-7.
inline constexpr int kLogSteps = 1024;
extern const std::array<std::uint64_t, kLogSteps + 1> kLog2;

// f(i/64) * 2^40 with f(x) = x / (1 - exp(-x)), i = 0..2050: the weight of a sample in units of the interval,
// up to x = 32, where p = 1 to 14 digits. Quadratic interpolation errs by less than 1e-8.
inline constexpr int kWeightStepsPerUnit = 64;
inline constexpr int kWeightUnits = 32;
extern const std::array<std::uint64_t, kWeightStepsPerUnit * kWeightUnits + 3> kWeightFactor;

}  // namespace memtrace
