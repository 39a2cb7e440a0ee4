#include "analyzer/estimate.hpp"

#include <algorithm>
#include <boost/math/distributions/gamma.hpp>
#include <boost/math/policies/policy.hpp>
#include <cmath>

namespace memtrace {
namespace {

namespace policies = boost::math::policies;
// Out-of-range input yields a value, not an exception: reports of damaged snapshots must still be printed.
using Quiet =
    policies::policy<policies::domain_error<policies::ignore_error>,
                     policies::overflow_error<policies::ignore_error>,
                     policies::underflow_error<policies::ignore_error>,
                     policies::evaluation_error<policies::ignore_error>, policies::promote_double<false>>;

constexpr double kNormal975 = 1.959963984540054;  // the standard normal distribution's 0.975 quantile

// Quantile of the gamma distribution with this mean and variance.
double gamma_quantile(double mean, double variance, double probability) {
  const double shape = mean * mean / variance;
  // Beyond this the gamma is normal to twelve digits, and its quantile overflows for one block far above R.
  if (!(shape < 1e8)) {
    const double z = probability < 0.5 ? -kNormal975 : kNormal975;
    return mean + z * std::sqrt(variance);
  }
  if (!(shape > 1e-8)) return probability < 0.5 ? 0 : mean;
  return boost::math::quantile(boost::math::gamma_distribution<double, Quiet>(shape, variance / mean),
                               probability);
}

}  // namespace

Sampling sampling_of(const Snapshot& snapshot) {
  if (snapshot.mode == SamplingMode::kAll) return {};
  return {static_cast<double>(std::max<std::uint64_t>(snapshot.interval_bytes, 1))};
}

Weight weigh_sample(std::uint64_t size_bytes, const Sampling& sampling) {
  const auto size = static_cast<double>(size_bytes);
  const double ratio = std::max(size, 1.0) / sampling.interval_bytes;
  const double p = -std::expm1(-ratio);
  const double missed = (1 - p) / (p * p);
  return {.bytes = size / p,
          .count = 1 / p,
          .bytes_variance = size * size * missed,
          .count_variance = missed,
          .sampled = true};
}

void Tally::add(const Tally& other) {
  bytes += other.bytes;
  count += other.count;
  bytes_variance += other.bytes_variance;
  count_variance += other.count_variance;
  largest_count = std::max(largest_count, other.largest_count);
  samples += other.samples;
  sampled += other.sampled;
}

Interval interval_of_sum(double sum, double variance, double unseen) {
  if (unseen <= 0) return {sum, sum};
  Interval result{sum, sum};
  if (variance > 0 && sum > 0) result.lower = gamma_quantile(sum, variance, 0.025);
  result.upper = gamma_quantile(sum + unseen, variance + unseen * unseen, 0.975);
  return result;
}

Interval interval_of_difference(double plus, const Interval& plus_interval, double minus,
                                const Interval& minus_interval) {
  const double difference = plus - minus;
  return {difference - std::hypot(plus - plus_interval.lower, minus_interval.upper - minus),
          difference + std::hypot(plus_interval.upper - plus, minus - minus_interval.lower)};
}

}  // namespace memtrace
