// Would break: a biased estimate, an interval that covers too little (false alarms) or too much (missed
// leaks).
#include "analyzer/estimate.hpp"

#include <cmath>
#include <random>
#include <vector>

#include "tests/support/catch.hpp"

using namespace memtrace;

namespace {

constexpr double kInterval = 64 * 1024;
constexpr Sampling kSampling{kInterval};

// The sampler of the shim, byte by byte: an exponential countdown through the blocks in order.
class Sampler {
 public:
  explicit Sampler(std::uint64_t seed) : random_(seed), countdown_(draw()) {}

  bool samples(std::uint64_t size) {
    countdown_ -= static_cast<double>(std::max<std::uint64_t>(size, 1));
    if (countdown_ >= 0) return false;
    countdown_ = draw();
    return true;
  }

 private:
  double draw() { return std::exponential_distribution<double>(1 / kInterval)(random_); }

  std::mt19937_64 random_;
  double countdown_;
};

// One population of blocks: `cycles` times the given sizes.
struct Population {
  std::vector<std::uint64_t> sizes;
  int cycles = 1;

  [[nodiscard]] double bytes() const {
    double sum = 0;
    for (const auto size : sizes) sum += static_cast<double>(size);
    return sum * cycles;
  }
  [[nodiscard]] double count() const { return static_cast<double>(sizes.size()) * cycles; }
  [[nodiscard]] Tally sampled(std::uint64_t seed) const {
    Sampler sampler(seed);
    Tally tally;
    for (int i = 0; i < cycles; ++i) {
      for (const auto size : sizes) {
        if (sampler.samples(size)) tally.add(weigh(size, AllocKind::kHeap, kSampling));
      }
    }
    return tally;
  }
};

constexpr int kSeeds = 4000;

struct Coverage {
  double bytes = 0;
  double count = 0;
  double bytes_bias = 0;  // relative
  double count_bias = 0;
  double bytes_error = 0;  // relative standard error of the mean
  double count_error = 0;
};

Coverage simulate(const Population& population) {
  Coverage result;
  double sum_bytes = 0;
  double sum_bytes2 = 0;
  double sum_count = 0;
  double sum_count2 = 0;
  const double bytes = population.bytes();
  const double count = population.count();
  // The weight that an unseen sample can have in counts: that of the smallest block there is.
  double largest = 0;
  for (const auto size : population.sizes) {
    largest = std::max(largest, weigh(size, AllocKind::kHeap, kSampling).count);
  }
  for (int seed = 0; seed < kSeeds; ++seed) {
    const Tally tally = population.sampled(static_cast<std::uint64_t>(seed) + 1);
    const Interval b = interval_of_sum(tally.bytes, tally.bytes_variance, kInterval);
    const Interval c = interval_of_sum(tally.count, tally.count_variance, largest);
    result.bytes += b.lower <= bytes && bytes <= b.upper ? 1.0 / kSeeds : 0;
    result.count += c.lower <= count && count <= c.upper ? 1.0 / kSeeds : 0;
    sum_bytes += tally.bytes / bytes / kSeeds;
    sum_bytes2 += tally.bytes * tally.bytes / bytes / bytes / kSeeds;
    sum_count += tally.count / count / kSeeds;
    sum_count2 += tally.count * tally.count / count / count / kSeeds;
  }
  result.bytes_bias = sum_bytes - 1;
  result.count_bias = sum_count - 1;
  result.bytes_error = std::sqrt((sum_bytes2 - sum_bytes * sum_bytes) / kSeeds);
  result.count_error = std::sqrt((sum_count2 - sum_count * sum_count) / kSeeds);
  return result;
}

}  // namespace

TEST_CASE("sums are unbiased whatever the mix of sizes") {
  const Population population = GENERATE(Population{{16, 100, 1000, 20000}, 200},  // mixed
                                         Population{{60000, 65536, 70000}, 40},    // around the interval
                                         Population{{10 << 20, 300 << 10}, 3},     // far above it
                                         Population{{0, 0, 0, 1, 24}, 20000});     // next to nothing
  const Coverage c = simulate(population);
  CAPTURE(c.bytes_bias, c.count_bias, c.bytes_error, c.count_error);
  // 4.5 standard errors: no seed of an unbiased estimator gets there.
  CHECK(std::abs(c.bytes_bias) <= 4.5 * c.bytes_error + 1e-9);
  CHECK(std::abs(c.count_bias) <= 4.5 * c.count_error + 1e-9);
}

TEST_CASE("intervals of equal small blocks cover 95 % from two expected samples to a thousand") {
  const int expected = GENERATE(2, 10, 24, 60, 100, 999);
  const Coverage c = simulate({{1024}, expected * 64});
  CAPTURE(expected, c.bytes, c.count);
  CHECK(c.bytes >= 0.94);
  CHECK(c.count >= 0.94);
  if (expected > 50) {
    CHECK(c.bytes <= 0.97);
    CHECK(c.count <= 0.97);
  }
}

TEST_CASE("intervals of mixed sizes cover at least 94 %") {
  const Population population =
      GENERATE(Population{{16, 100, 1000, 20000}, 100}, Population{{60000, 65536, 70000}, 10},
               Population{{512, 512, 512, 512, 300000}, 20}, Population{{32768}, 8},
               Population{{10 << 20}, 3}, Population{{64, 4096}, 400});
  const Coverage c = simulate(population);
  CAPTURE(population.sizes.front(), c.bytes);
  CHECK(c.bytes >= 0.94);
}

TEST_CASE("the interval of a difference covers at least 94 %") {
  struct Case {
    int born;  // expected samples
    int died;
  };
  const Case expected = GENERATE(Case{2, 0}, Case{10, 10}, Case{40, 10}, Case{5, 60}, Case{200, 180});
  const Population born{{1024}, expected.born * 64};
  const Population died{{1024}, expected.died * 64};
  const double truth = born.bytes() - died.bytes();
  int covered = 0;
  for (int seed = 0; seed < kSeeds; ++seed) {
    const Tally x = born.sampled(static_cast<std::uint64_t>(2 * seed + 1));
    const Tally y = died.sampled(static_cast<std::uint64_t>(2 * seed + 2));
    const Interval interval =
        interval_of_difference(x.bytes, interval_of_sum(x.bytes, x.bytes_variance, kInterval), y.bytes,
                               interval_of_sum(y.bytes, y.bytes_variance, kInterval));
    covered += interval.lower <= truth && truth <= interval.upper ? 1 : 0;
  }
  CAPTURE(expected.born, expected.died, covered);
  CHECK(covered >= 0.94 * kSeeds);
}

TEST_CASE("one block far above the interval keeps its known size") {
  const Weight weight = weigh(100 << 20, AllocKind::kHeap, {512 * 1024});
  CHECK(weight.bytes == Approx(100 << 20));
  CHECK(weight.count == Approx(1));
  const Interval interval = interval_of_sum(weight.bytes, weight.bytes_variance, 512 * 1024);
  CHECK(interval.lower == Approx(100 << 20));
  CHECK(interval.upper < 1.03 * (100 << 20));
}

TEST_CASE("what is always recorded is certain") {
  const Weight mapping = weigh(8192, AllocKind::kMmap, {512 * 1024});
  CHECK(mapping.bytes == 8192);
  CHECK(mapping.count == 1);
  CHECK_FALSE(mapping.sampled);
  const Weight block = weigh(24, AllocKind::kHeap, {});
  CHECK(block.bytes == 24);
  CHECK_FALSE(block.sampled);
  const Interval interval = interval_of_sum(8192, 0, 0);
  CHECK(interval.lower == 8192);
  CHECK(interval.upper == 8192);
}

TEST_CASE("intervals are those of Poisson counts") {
  // Table of exact 95 % limits: 10 observed events -> 4.795 to 18.390; none -> 0 to 3.689.
  const Interval ten = interval_of_sum(10, 10, 1);
  CHECK(ten.lower == Approx(4.795).epsilon(0.001));
  CHECK(ten.upper == Approx(18.390).epsilon(0.001));
  const Interval none = interval_of_sum(0, 0, 1);
  CHECK(none.lower == 0);
  CHECK(none.upper == Approx(3.689).epsilon(0.001));
}

TEST_CASE("hostile sizes give finite intervals") {
  const std::uint64_t size = GENERATE(std::uint64_t{0}, std::uint64_t{1}, UINT64_MAX);
  const double interval = GENERATE(1.0, 524288.0, 1.8e19);
  const Weight weight = weigh(size, AllocKind::kHeap, {interval});
  const Interval limits = interval_of_sum(weight.bytes, weight.bytes_variance, interval);
  CAPTURE(size, interval);
  CHECK(std::isfinite(weight.count_variance));
  CHECK(std::isfinite(limits.lower));
  CHECK(std::isfinite(limits.upper));
}
