#include "analyzer/verdict.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "analyzer/significance.hpp"
#include "analyzer/units.hpp"

namespace memtrace {
namespace {

constexpr std::uint64_t kFewSamples = 10;   // the cohorts of fewer have no shape
constexpr std::uint64_t kThinSamples = 40;  // fewer: the sentence says so
constexpr double kMostlyReplaced = 0.5;
constexpr double kNearlyNone = 0.05;
constexpr double kNearlyAll = 0.9;

// The blocks born since the old snapshot at the sites that grow.
struct Cohorts {
  std::array<double, 4> share{};  // of the bytes, oldest quarter first
  std::array<std::uint64_t, 4> samples{};
  std::size_t batches = 0;
  Tallies sites;
  std::uint64_t born_samples = 0;
  std::size_t site_count = 0;
  bool dated = false;  // births lie between the snapshots
};

Cohorts cohorts_of(const Growth& growth, const std::vector<bool>& grows, std::int64_t from, std::int64_t to) {
  Cohorts result;
  result.site_count = static_cast<std::size_t>(std::ranges::count(grows, true));
  const auto bin_grows = [&](std::uint32_t bin) {
    return std::ranges::any_of(growth.call_sites.sites_of_bin(bin), [&](auto site) { return grows[site]; });
  };
  for (std::uint32_t bin = 0; bin < growth.comparison.bins.size(); ++bin) {
    if (bin_grows(bin)) result.sites.add(growth.comparison.bins[bin].tallies);
  }
  std::set<std::int64_t> ticks;
  double sum = 0;
  std::size_t dated = 0;
  for (const auto& birth : growth.comparison.born) {
    if (!bin_grows(birth.bin)) continue;
    ++result.born_samples;
    ticks.insert(birth.time_ns);
    const std::int64_t age = elapsed_ns(from, birth.time_ns);
    dated += age > -1'000'000'000 && elapsed_ns(to, birth.time_ns) <= 1'000'000'000 ? 1U : 0U;
    const double position = static_cast<double>(age) / static_cast<double>(elapsed_ns(from, to));
    const auto quarter = static_cast<std::size_t>(std::clamp(position * 4, 0.0, 3.0));
    result.share[quarter] += birth.bytes;
    ++result.samples[quarter];
    sum += birth.bytes;
  }
  if (sum > 0) {
    for (auto& share : result.share) share /= sum;
  }
  result.batches = ticks.size();
  result.dated = static_cast<double>(dated) >= 0.99 * static_cast<double>(result.born_samples);
  return result;
}

double part(double x, double of) { return of > 0 ? x / of : 0; }

VerdictWord word_for(const Cohorts& c, bool young) {
  const auto& share = c.share;
  const double survivors = 1 - part(c.sites.died.bytes, c.sites.old.bytes);
  if (c.batches <= 2) return VerdictWord::kRetention;
  if (share[3] >= 0.75 && share[0] <= kNearlyNone) {
    return c.sites.old.samples > 0 && survivors < kMostlyReplaced ? VerdictWord::kChurn
                                                                  : VerdictWord::kRetention;
  }
  if (share[0] + share[1] >= 1 - kNearlyNone) return young ? VerdictWord::kWarmUp : VerdictWord::kRetention;
  if (*std::ranges::max_element(share) >= kNearlyAll) return VerdictWord::kRetention;
  const std::uint64_t first_half = c.samples[0] + c.samples[1];
  const std::uint64_t second_half = c.samples[2] + c.samples[3];
  if (first_half > second_half && share[3] < share[0] / 2 && binomial_test(first_half, second_half) < 0.01) {
    return VerdictWord::kSaturating;
  }
  // A leak fills the newest quarter too. Where that is nearly empty, growth has stopped, or chance had it so.
  const bool thin = c.born_samples < kThinSamples;
  if (share[3] <= kNearlyNone || (thin && share[3] < share[0] / 2)) {
    return binomial_test(c.samples[0], c.samples[3]) < 0.01 ? VerdictWord::kSaturating
                                                            : VerdictWord::kUnknown;
  }
  return VerdictWord::kLeak;
}

Verdict without_growing_site(const Growth& growth) {
  const Tallies& totals = growth.totals;
  const Interval interval = bytes_interval(growth.comparison, totals);
  const bool estimated = growth.comparison.sampling.estimated();
  const std::string range =
      estimated ? fmt::format(" (95 %: {} to {})", signed_size(interval.lower), signed_size(interval.upper))
                : "";
  const std::string change = signed_size(totals.born.bytes - totals.died.bytes) + range;
  if (interval.upper < 0) return {VerdictWord::kShrink, fmt::format("live memory changed by {}", change)};
  if (interval.lower > 0) {
    return {VerdictWord::kUnknown,
            fmt::format("live memory changed by {}, but at no call site more often than chance would have it",
                        change)};
  }
  const double replaced = part(totals.died.bytes, totals.old.bytes);
  if (totals.old.samples >= kFewSamples && replaced >= kMostlyReplaced) {
    return {VerdictWord::kChurn,
            fmt::format("{:.0f} % of what was live in OLD is gone and was replaced; live memory "
                        "changed by {}",
                        100 * replaced, change)};
  }
  return {VerdictWord::kFlat,
          fmt::format("no call site grows beyond chance; live memory changed by {}", change)};
}

}  // namespace

std::string_view word(VerdictWord verdict) {
  constexpr std::array<std::string_view, 8> kWords = {"leak",      "saturating", "churn",  "warm-up",
                                                      "retention", "flat",       "shrink", "unknown"};
  return kWords[static_cast<std::size_t>(verdict)];
}

Verdict judge(const Growth& growth, const Snapshot* old, const Snapshot& current) {
  if (old == nullptr) return {VerdictWord::kUnknown, "one snapshot shows what is live, not what grows"};
  if (!growth.comparison.same_process) {
    return {VerdictWord::kUnknown,
            "two processes: no block is in both, so nothing cancels and ages say nothing"};
  }
  const std::int64_t from = old->monotonic_ns;
  const std::int64_t to = current.monotonic_ns;
  if (to <= from) return {VerdictWord::kUnknown, "no time passed between the snapshots"};
  if (growth.totals.old.samples + growth.totals.current.samples == 0) {
    return {VerdictWord::kUnknown, "the snapshots hold no samples"};
  }
  if (growth.q_values.empty()) {
    return {VerdictWord::kUnknown, "the snapshots were sampled at different intervals"};
  }

  std::vector<bool> grows(growth.call_sites.sites.size());
  for (std::size_t site = 0; site < grows.size(); ++site) {
    const Tallies& tallies = growth.call_sites.sites[site].tallies;
    if (tallies.born.samples <= tallies.died.samples) continue;
    const bool more_often = growth.q_values[site] <= kSignificance;
    // With every allocation on record one burst is certain, although no test of chance can see it.
    const bool certain = !growth.comparison.sampling.estimated() && tallies.died.samples == 0;
    // Not the interval of bytes: its lower limit is one of 97.5 %, which would cost a third of the power.
    grows[site] = (more_often || certain) && tallies.born.bytes > tallies.died.bytes;
  }
  const Cohorts cohorts = cohorts_of(growth, grows, from, to);
  if (cohorts.site_count == 0) return without_growing_site(growth);
  const double grown = cohorts.sites.born.bytes - cohorts.sites.died.bytes;
  const std::string sites =
      fmt::format("{} call site{} grew by {}{}", cohorts.site_count, cohorts.site_count == 1 ? "" : "s",
                  growth.comparison.sampling.estimated() ? "~" : "", size_text(grown));
  if (!cohorts.dated) {
    return {VerdictWord::kUnknown,
            fmt::format("{}, but their birth times lie outside the time between the snapshots", sites)};
  }
  if (cohorts.born_samples < kFewSamples) {
    return {VerdictWord::kUnknown, fmt::format("{}, on {} samples: too few to tell a leak from a burst",
                                               sites, cohorts.born_samples)};
  }
  const bool young = elapsed_ns(old->start_monotonic_ns, from) <= elapsed_ns(from, to);
  std::string sentence = fmt::format(
      "{}; of what was born there in {} and still lives, {:.0f} % is from the oldest quarter of that time "
      "and {:.0f} % "
      "from the newest",
      sites, duration_text(elapsed_ns(from, to)), 100 * cohorts.share[0], 100 * cohorts.share[3]);
  if (cohorts.sites.old.samples > 0) {
    sentence += fmt::format("; {:.0f} % of what was live there before still is",
                            100 * (1 - part(cohorts.sites.died.bytes, cohorts.sites.old.bytes)));
  }
  const VerdictWord word = word_for(cohorts, young);
  if (word == VerdictWord::kUnknown) {
    sentence += fmt::format("; {} samples are too few to tell a leak from growth that has stopped",
                            cohorts.born_samples);
  } else if (cohorts.born_samples < kThinSamples) {
    sentence += fmt::format("; only {} samples", cohorts.born_samples);
  }
  return {word, sentence};
}

}  // namespace memtrace
