// Growth by call site: tested, filtered, ranked.
#pragma once

#include <cstdint>
#include <vector>

#include "analyzer/call_sites.hpp"
#include "analyzer/compare.hpp"

namespace memtrace {

enum class SortKey {
  kGrowth,  // growth in bytes, then in count: a shrink comes after every growth
  kCount,   // growth in count, then in bytes
  kSize,    // live bytes in the new snapshot
  kAbs,     // tracemalloc's: (abs(size_diff), size, abs(count_diff), count, key), all descending
  kLower,   // lower bound of growth in bytes
};

struct Ranking {
  SortKey sort = SortKey::kGrowth;
  std::int64_t min_bytes = 0;  // drops rows whose growth is smaller, either way
  bool growth_only = false;    // drops rows that did not grow
};

// The figures to print: estimates as integers, made so that current - old == diff.
struct Figures {
  std::int64_t old = 0;
  std::int64_t current = 0;
  std::int64_t diff = 0;
};

[[nodiscard]] Figures bytes_of(const Tallies& tallies);
[[nodiscard]] Figures counts_of(const Tallies& tallies);

struct Growth {
  Comparison comparison;
  CallSites call_sites;
  // Of each site, Benjamini-Hochberg adjusted: 1 = no evidence. Empty where there is nothing to test.
  std::vector<double> q_values;
  std::vector<std::uint32_t> ranked;  // sites in the order of the report
  Tallies totals;                     // of the sites' bins, after filters
};

inline constexpr double kSignificance = 0.05;

[[nodiscard]] Growth rank(Comparison comparison, CallSites call_sites, const Ranking& ranking);

// 95 % intervals of a site's or the total's growth; the point itself where every record is certain.
[[nodiscard]] Interval bytes_interval(const Comparison& comparison, const Tallies& tallies);
[[nodiscard]] Interval count_interval(const Comparison& comparison, const Tallies& tallies);

}  // namespace memtrace
