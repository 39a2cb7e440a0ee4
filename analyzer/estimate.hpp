// THE functions from samples to estimated bytes and counts, their variances and 95 % intervals.
//
// Derivation. The sampler makes every allocated byte a Poisson trial with a mean interval of R bytes, so that
// an allocation of size Z is a sample with p = 1 - exp(-max(Z,1)/R), independently of all others. Horvitz and
// Thompson: if each sample counts Z/p bytes and 1/p allocations, both sums are unbiased whatever the mix of
// sizes, because E[1{sampled}/p] = 1. The variance of one term is Z^2 p(1-p)/p^2 over the population; its
// unbiased estimate over the samples is Z^2 (1-p)/p^2 (and (1-p)/p^2 for counts). Sums of independent terms
// add.
//
// Intervals: a sum L with variance v is treated as v/L times a Poisson variable of mean L^2/v, the exact
// interval of which is a pair of gamma quantiles (Fay and Feuer, Statistics in Medicine 16, 1997). The upper
// limit must allow for one more sample: L' = L + R, v' = v + R^2, because R is what the smallest allocation's
// sample weighs (Z/p -> R). For equal small allocations this is the exact Poisson interval. A difference of
// two independent sums gets MOVER (Zou and Donner, Statistics in Medicine 27, 2008): the distances of the
// single limits, combined as a root of squares.
//
// Pure functions; no errors: every input gives finite numbers. Bytes and counts are doubles, exact up to
// 2^53.
#pragma once

#include <algorithm>
#include <cstdint>

#include "format/snapshot.hpp"

namespace memtrace {

// How one snapshot's heap allocations were chosen. Interval 0: every allocation was recorded.
struct Sampling {
  double interval_bytes = 0;

  [[nodiscard]] bool estimated() const { return interval_bytes > 0; }
};

[[nodiscard]] Sampling sampling_of(const Snapshot& snapshot);

// What one record stands for.
struct Weight {
  double bytes = 0;
  double count = 0;
  double bytes_variance = 0;
  double count_variance = 0;
  bool sampled = false;  // chosen by the sampler, even if p came out as 1; false: always recorded
};

[[nodiscard]] Weight weigh_sample(std::uint64_t size_bytes, const Sampling& sampling);

// Mappings are always recorded: only heap allocations are weighed.
[[nodiscard]] inline Weight weigh(std::uint64_t size_bytes, AllocKind kind, const Sampling& sampling) {
  if (kind == AllocKind::kHeap && sampling.estimated()) return weigh_sample(size_bytes, sampling);
  return {.bytes = static_cast<double>(size_bytes), .count = 1};
}

// A sum of weights.
struct Tally {
  double bytes = 0;
  double count = 0;
  double bytes_variance = 0;
  double count_variance = 0;
  double largest_count = 0;   // the largest 1/p in the sum
  std::uint64_t samples = 0;  // records in the sum
  std::uint64_t sampled = 0;  // of these, chosen by the sampler

  void add(const Weight& weight) {
    bytes += weight.bytes;
    count += weight.count;
    bytes_variance += weight.bytes_variance;
    count_variance += weight.count_variance;
    largest_count = std::max(largest_count, weight.count);
    ++samples;
    sampled += weight.sampled ? 1 : 0;
  }
  void add(const Tally& other);
};

// Two-sided, 95 %.
struct Interval {
  double lower = 0;
  double upper = 0;
};

// `unseen` is the weight of the one sample more that the upper limit allows for: the sampling interval for
// bytes, the largest 1/p at hand for counts. 0: nothing can be unseen, and the interval is the point itself.
[[nodiscard]] Interval interval_of_sum(double sum, double variance, double unseen);

// Of plus - minus, given the interval of each.
[[nodiscard]] Interval interval_of_difference(double plus, const Interval& plus_interval, double minus,
                                              const Interval& minus_interval);

}  // namespace memtrace
