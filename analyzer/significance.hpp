// Is a call site's growth more than chance? Tests for diff and verdict.
//
// In a steady state the samples born since the old snapshot and those gone since are equally many in
// expectation, and independent blocks make the split between them a fair coin: exact binomial test with p =
// 1/2, two-sided. Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace memtrace {

// P(a split at least as uneven as this), two-sided; 1 when there is nothing to test.
[[nodiscard]] double binomial_test(std::uint64_t born, std::uint64_t died);

// Benjamini and Hochberg (J. R. Stat. Soc. B 57, 1995): p-values -> adjusted values, in the same order.
// Rejecting those
// <= 0.05 keeps the expected share of false alarms among the alarms at 5 %.
[[nodiscard]] std::vector<double> benjamini_hochberg(std::span<const double> p_values);

}  // namespace memtrace
