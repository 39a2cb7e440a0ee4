// Is a call site's growth more than chance? Tests for diff and verdict.
//
// In a steady state the samples born since the old snapshot and those gone since are equally many in
// expectation, and independent blocks make the split between them a fair coin: exact binomial test with p =
// 1/2. Growth is asked for in one direction, so its test is one-sided: at 5 % it finds, on a site with 40
// live samples that are all replaced meanwhile (Poisson both ways, computed), 10 / 20 / 40 leaked ones with
// 0.24 / 0.60 / 0.98 (half of them replaced: 0.36 / 0.80 / 1.00), with 3.9 % false alarms. Two-sided it would
// be 0.16 / 0.48 / 0.95, and half of its 3.8 % false alarms would be shrinks. Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace memtrace {

// P(at least so many of both are born): small where `born` is too many for chance; 1 when there is nothing to
// test.
[[nodiscard]] double growth_test(std::uint64_t born, std::uint64_t died);

// P(a split at least as uneven as this), two-sided; 1 when there is nothing to test.
[[nodiscard]] double binomial_test(std::uint64_t one, std::uint64_t other);

// Benjamini and Hochberg (J. R. Stat. Soc. B 57, 1995): p-values -> adjusted values, in the same order.
// Rejecting those
// <= 0.05 keeps the expected share of false alarms among the alarms at 5 %.
[[nodiscard]] std::vector<double> benjamini_hochberg(std::span<const double> p_values);

}  // namespace memtrace
