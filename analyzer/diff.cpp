#include "analyzer/diff.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <tuple>
#include <utility>

#include "analyzer/significance.hpp"
#include "analyzer/units.hpp"

namespace memtrace {
namespace {

struct Samples {
  std::uint64_t all = 0;
  std::uint64_t batches = 0;  // blocks born in the same tick of the coarse clock count once
};

std::vector<Samples> samples_by_site(const CallSites& call_sites, const std::vector<Birth>& births) {
  std::vector<std::pair<std::uint32_t, std::int64_t>> ticks;
  ticks.reserve(births.size());
  std::vector<Samples> result(call_sites.sites.size());
  for (const auto& birth : births) {
    for (const auto site : call_sites.sites_of_bin(birth.bin)) {
      ++result[site].all;
      ticks.emplace_back(site, birth.time_ns);
    }
  }
  std::sort(ticks.begin(), ticks.end());
  ticks.erase(std::unique(ticks.begin(), ticks.end()), ticks.end());
  for (const auto& tick : ticks) ++result[tick.first].batches;
  return result;
}

// The coin of the binomial test is fair only if both sides were sampled alike. Blocks that are born together
// are not independent, while batches are biased where one old batch dies block by block: growth must show in
// both.
std::vector<double> test_growth(const Comparison& comparison, const CallSites& call_sites) {
  if (comparison.sampling.interval_bytes != comparison.old_sampling.interval_bytes) return {};
  const auto born = samples_by_site(call_sites, comparison.born);
  const auto died = samples_by_site(call_sites, comparison.died);
  std::vector<double> p_values;
  p_values.reserve(born.size());
  for (std::size_t site = 0; site < born.size(); ++site) {
    p_values.push_back(std::max(growth_test(born[site].all, died[site].all),
                                growth_test(born[site].batches, died[site].batches)));
  }
  return benjamini_hochberg(p_values);
}

Figures figures(double old, double born, double died) {
  Figures result;
  result.old = whole(old);
  result.diff = whole(born - died);
  result.current = result.old + result.diff;
  return result;
}

bool any_sampled(const Tallies& tallies) { return tallies.old.sampled + tallies.current.sampled > 0; }

template <class KeyOf>
void sort_descending(std::vector<std::uint32_t>& sites, KeyOf key_of) {
  using Key = decltype(key_of(std::uint32_t{}));
  std::vector<std::pair<Key, std::uint32_t>> keyed;
  keyed.reserve(sites.size());
  for (const auto site : sites) keyed.emplace_back(key_of(site), site);
  std::stable_sort(keyed.begin(), keyed.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::ranges::transform(keyed, sites.begin(), [](const auto& entry) { return entry.second; });
}

void sort_sites(std::vector<std::uint32_t>& ranked, const Growth& growth, SortKey sort) {
  const auto& sites = growth.call_sites.sites;
  const auto bytes = [&](std::uint32_t site) { return bytes_of(sites[site].tallies); };
  const auto counts = [&](std::uint32_t site) { return counts_of(sites[site].tallies); };
  switch (sort) {
    case SortKey::kGrowth:
      return sort_descending(ranked, [&](auto s) { return std::pair(bytes(s).diff, counts(s).diff); });
    case SortKey::kCount:
      return sort_descending(ranked, [&](auto s) { return std::pair(counts(s).diff, bytes(s).diff); });
    case SortKey::kSize:
      return sort_descending(ranked, [&](auto s) { return std::pair(bytes(s).current, counts(s).current); });
    case SortKey::kLower:
      return sort_descending(
          ranked, [&](auto s) { return bytes_interval(growth.comparison, sites[s].tallies).lower; });
    case SortKey::kAbs:
      break;
  }
  if (growth.call_sites.keys.size() > 0) {
    std::sort(ranked.begin(), ranked.end(),
              [&](auto a, auto b) { return growth.call_sites.keys.compare(sites[a].key, sites[b].key) > 0; });
  }
  sort_descending(ranked, [&](auto s) {
    const auto size = bytes(s);
    const auto count = counts(s);
    return std::tuple(std::abs(size.diff), size.current, std::abs(count.diff), count.current);
  });
}

}  // namespace

Figures bytes_of(const Tallies& t) { return figures(t.old.bytes, t.born.bytes, t.died.bytes); }
Figures counts_of(const Tallies& t) { return figures(t.old.count, t.born.count, t.died.count); }

Interval bytes_interval(const Comparison& comparison, const Tallies& t) {
  const bool sampled = any_sampled(t);
  const double unseen_born = sampled ? comparison.sampling.interval_bytes : 0;
  const double unseen_died = sampled ? comparison.old_sampling.interval_bytes : 0;
  return interval_of_difference(
      t.born.bytes, interval_of_sum(t.born.bytes, t.born.bytes_variance, unseen_born), t.died.bytes,
      interval_of_sum(t.died.bytes, t.died.bytes_variance, unseen_died));
}

Interval count_interval(const Comparison& comparison, const Tallies& t) {
  const double largest = any_sampled(t) ? std::max(t.old.largest_count, t.current.largest_count) : 0;
  const double unseen_born = comparison.sampling.estimated() ? largest : 0;
  const double unseen_died = comparison.old_sampling.estimated() ? largest : 0;
  return interval_of_difference(
      t.born.count, interval_of_sum(t.born.count, t.born.count_variance, unseen_born), t.died.count,
      interval_of_sum(t.died.count, t.died.count_variance, unseen_died));
}

Growth rank(Comparison comparison, CallSites call_sites, const Ranking& ranking) {
  Growth growth;
  growth.comparison = std::move(comparison);
  growth.call_sites = std::move(call_sites);
  growth.q_values = test_growth(growth.comparison, growth.call_sites);
  for (std::uint32_t bin = 0; bin < growth.comparison.bins.size(); ++bin) {
    if (!growth.call_sites.sites_of_bin(bin).empty()) growth.totals.add(growth.comparison.bins[bin].tallies);
  }
  for (std::uint32_t site = 0; site < growth.call_sites.sites.size(); ++site) {
    const auto diff = bytes_of(growth.call_sites.sites[site].tallies).diff;
    const auto count_diff = counts_of(growth.call_sites.sites[site].tallies).diff;
    if (std::abs(diff) < ranking.min_bytes) continue;
    if (ranking.growth_only && diff <= 0 && !(diff == 0 && count_diff > 0)) continue;
    growth.ranked.push_back(site);
  }
  sort_sites(growth.ranked, growth, ranking.sort);
  return growth;
}

}  // namespace memtrace
