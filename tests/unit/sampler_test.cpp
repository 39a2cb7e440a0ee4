// Would break: every estimate. A biased draw, a weight that is off, threads that draw alike: all of them make
// memdiff print wrong bytes with a straight face.
#include "preload/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;

namespace {

constexpr std::uint64_t kInterval = 512 * 1024;

// Anderson and Darling's statistic against the exponential distribution, all of it known beforehand.
// Exceeds 3.857 in 1 of 100 and 6.0 in 1 of 1000 honest cases.
double anderson_darling(std::vector<double> values, double mean) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double below = std::log(-std::expm1(-values[i] / mean));
    const double above = -values[n - 1 - i] / mean;
    sum += (2 * static_cast<double>(i) + 1) * (below + above);
  }
  return -static_cast<double>(n) - sum / static_cast<double>(n);
}

// This thread as it is before its first allocation.
void become_thread(std::uint32_t serial) {
  t_state = ThreadState{};
  t_state.serial = serial;
}

Sampler poisson(std::uint64_t interval, std::uint64_t seed) {
  Sampler sampler;
  sampler.start(SamplingMode::kPoissonBytes, interval, seed);
  return sampler;
}

// One allocation, as the tracker tries it.
bool sampled(const Sampler& sampler, std::uint64_t size) {
  if (!Sampler::step(size)) return false;
  if (sampler.rearm()) return true;
  if (!Sampler::step(size)) return false;
  (void)sampler.rearm();
  return true;
}

double probability(std::uint64_t size, std::uint64_t interval) {
  const auto trials = static_cast<double>(std::max<std::uint64_t>(size, 1));
  return -std::expm1(-trials / static_cast<double>(interval));
}

}  // namespace

TEST_CASE("draws are exponential") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    std::vector<double> draws(50'000);
    double sum = 0;
    double squares = 0;
    for (double& draw : draws) {
      // The draw is rounded down: the middle of its byte stands for it.
      draw = static_cast<double>(Sampler::exponential(random(), kInterval)) + 0.5;
      sum += draw / kInterval;
      squares += draw * draw / kInterval / kInterval;
    }
    const auto n = static_cast<double>(draws.size());
    const double mean = sum / n;
    CHECK(std::abs(mean - 1) < 4 / std::sqrt(n));                             // its deviation: 1/sqrt(n)
    CHECK(std::abs(squares / n - mean * mean - 1) < 4 * std::sqrt(8.0 / n));  // fourth moment: 9
    CHECK(anderson_darling(draws, kInterval) < 3.857);
    // The test has teeth: 3 % off is noticed.
    CHECK(anderson_darling(draws, kInterval * 1.03) > 3.857);
  }
}

TEST_CASE("draws at the ends of the random numbers") {
  CHECK(Sampler::exponential(UINT64_MAX, Sampler::kMaxInterval) <= 256);
  const double largest = static_cast<double>(Sampler::exponential(0, kInterval));
  CHECK(largest == Approx(64 * std::log(2.0) * kInterval).epsilon(1e-6));
  // Never as large as to make the countdown negative.
  CHECK(Sampler::exponential(0, Sampler::kMaxInterval) < std::uint64_t{1} << 47);
}

TEST_CASE("gaps between samples, byte by byte, are exponential") {
  constexpr std::uint64_t kShort = 1000;
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> within(0, 1);
  for (std::uint32_t serial = 1; serial <= 5; ++serial) {
    CAPTURE(serial);
    const Sampler sampler = poisson(kShort, 4711);
    become_thread(serial);
    std::vector<double> gaps;
    std::uint64_t bytes = 0;
    while (gaps.size() < 10'000) {
      ++bytes;
      if (!sampled(sampler, 1)) continue;
      // A whole number of bytes became known; where in its last byte the exponential value lay is drawn.
      const double in_byte = -std::log1p(-within(random) * -std::expm1(-1.0 / kShort)) * kShort;
      gaps.push_back(static_cast<double>(bytes - 1) + in_byte);
      bytes = 0;
    }
    CHECK(anderson_darling(gaps, kShort) < 3.857);
  }
}

TEST_CASE("threads draw independently of one another") {
  constexpr std::uint32_t kThreads = 20'000;
  std::vector<double> first;
  std::vector<double> second;
  const Sampler sampler = poisson(kInterval, 99);
  for (std::uint32_t serial = 1; serial <= kThreads; ++serial) {
    become_thread(serial);
    CHECK_FALSE(sampler.rearm());  // no countdown yet: nothing was tried
    first.push_back(static_cast<double>(t_state.countdown) + 0.5);
    CHECK(sampler.rearm());
    second.push_back(static_cast<double>(t_state.countdown) + 0.5);
  }
  CHECK(anderson_darling(first, kInterval) < 3.857);
  CHECK(anderson_darling(second, kInterval) < 3.857);
  const auto correlation = [&](const std::vector<double>& a, const std::vector<double>& b, std::size_t lag) {
    double sum = 0;
    for (std::size_t i = lag; i < a.size(); ++i) sum += (a[i] / kInterval - 1) * (b[i - lag] / kInterval - 1);
    return sum / static_cast<double>(a.size() - lag);
  };
  const double limit = 4 / std::sqrt(double{kThreads});
  CHECK(std::abs(correlation(first, first, 1)) < limit);
  CHECK(std::abs(correlation(first, second, 0)) < limit);
  CHECK(std::abs(correlation(first, second, 1)) < limit);
}

TEST_CASE("one seed gives one sequence, another seed another") {
  const auto countdowns = [](std::uint64_t seed) {
    const Sampler sampler = poisson(kInterval, seed);
    become_thread(1);
    std::vector<std::uint64_t> all(100);
    for (std::uint64_t& countdown : all) {
      (void)sampler.rearm();
      countdown = t_state.countdown;
    }
    return all;
  };
  CHECK(countdowns(1) == countdowns(1));
  CHECK(countdowns(1) != countdowns(2));
}

TEST_CASE("samples stand for what was allocated, whatever its size") {
  constexpr std::uint64_t kR = 4096;
  const std::vector<std::uint64_t> one_size[] = {{0},
                                                 {1},
                                                 {16},
                                                 {kR / 2},
                                                 {kR - 1},
                                                 {kR},
                                                 {kR + 1},
                                                 {3 * kR / 2},
                                                 {3 * kR},
                                                 {20 * kR},
                                                 {kR * 1'000},
                                                 {std::uint64_t{1} << 40},
                                                 {8, 16, 100, kR / 3, kR, 5 * kR, 0, 24}};
  for (const std::vector<std::uint64_t>& sizes : one_size) {
    CAPTURE(sizes);
    const Sampler sampler = poisson(kR, 17);
    std::uint64_t count = 0;  // fixed point
    __extension__ unsigned __int128 bytes = 0;
    double true_bytes = 0;
    double count_variance = 0;
    double bytes_variance = 0;
    constexpr int kRounds = 200'000;
    become_thread(3);
    for (int i = 0; i < kRounds; ++i) {
      for (const std::uint64_t size : sizes) {
        if (!sampled(sampler, size)) continue;
        const Weight weight = sampler.weight(size);
        count += weight.count;
        bytes += weight.bytes;
      }
    }
    for (const std::uint64_t size : sizes) {
      const double p = probability(size, kR);
      const auto z = static_cast<double>(size);
      true_bytes += z * kRounds;
      count_variance += kRounds * (1 - p) / p;
      bytes_variance += kRounds * z * z * (1 - p) / p;
    }
    const double true_count = double{kRounds} * static_cast<double>(sizes.size());
    const double estimated_count = std::ldexp(static_cast<double>(count), -Weight::kCountBits);
    const double estimated_bytes = std::ldexp(static_cast<double>(bytes), -Weight::kBytesBits);
    // 1e-4 of it for the fixed point, whose last place is lost in each sample.
    CHECK(std::abs(estimated_count - true_count) < 4 * std::sqrt(count_variance) + 1e-4 * true_count);
    CHECK(std::abs(estimated_bytes - true_bytes) <= 4 * std::sqrt(bytes_variance) + 1e-4 * true_bytes);
  }
}

TEST_CASE("the first allocation of a thread is a trial like any other") {
  // Threads that allocate once: were it always or never a sample, short-lived threads would be misjudged.
  constexpr std::uint64_t kSize = kInterval / 2;
  constexpr std::uint32_t kThreads = 100'000;
  const Sampler sampler = poisson(kInterval, 5);
  double samples = 0;
  for (std::uint32_t serial = 1; serial <= kThreads; ++serial) {
    become_thread(serial);
    samples += sampled(sampler, kSize);
  }
  const double p = probability(kSize, kInterval);
  CHECK(std::abs(samples - kThreads * p) < 4 * std::sqrt(kThreads * p * (1 - p)));
}

TEST_CASE("weights are the formula's, to the last place of the fixed point") {
  const auto check = [](std::uint64_t interval, std::uint64_t size) {
    const Weight weight = poisson(interval, 1).weight(size);
    const long double trials = static_cast<long double>(std::max<std::uint64_t>(size, 1));
    const long double p = -std::expm1(-trials / static_cast<long double>(interval));
    const long double count = 1 / p;
    const long double bytes = static_cast<long double>(size) / p;
    const long double count_error =
        std::abs(std::ldexp(static_cast<long double>(weight.count), -Weight::kCountBits) - count);
    const long double bytes_error =
        std::abs(std::ldexp(static_cast<long double>(weight.bytes), -Weight::kBytesBits) - bytes);
    return count_error <= 1e-6L * count + std::ldexp(1.0L, -Weight::kCountBits) &&
           bytes_error <= 1e-6L * bytes + std::ldexp(1.0L, -Weight::kBytesBits);
  };
  constexpr std::uint64_t kLargestSize = (std::uint64_t{1} << (64 - Weight::kBytesBits)) - 1;
  std::vector<std::uint64_t> intervals;
  for (int bit = 0; bit <= 40; ++bit) {
    for (const std::int64_t near : {-1, 0, 1}) {
      const std::uint64_t interval = (std::uint64_t{1} << bit) + static_cast<std::uint64_t>(near);
      if (interval >= 1 && interval <= Sampler::kMaxInterval) intervals.push_back(interval);
    }
  }
  std::mt19937_64 random(11);
  std::uint64_t wrong = 0;
  for (const std::uint64_t interval : intervals) {
    std::vector<std::uint64_t> sizes = {0, 1, 2, 3, 7, 100, kLargestSize};
    for (int bit = 2; bit < 64 - Weight::kBytesBits; ++bit) {
      sizes.push_back(std::uint64_t{1} << bit);
      sizes.push_back((std::uint64_t{1} << bit) + random() % (std::uint64_t{1} << bit));
    }
    // Around the interval, and where p becomes 1.
    for (const std::uint64_t factor : {1U, 2U, 31U, 32U, 33U}) {
      for (const std::uint64_t from : {0U, 1U, 2U}) sizes.push_back(factor * interval - 1 + from);
    }
    for (const std::uint64_t size : sizes) {
      if (check(interval, size)) continue;
      UNSCOPED_INFO("interval " << interval << ", size " << size);
      ++wrong;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("sizes that no machine can hand out have the largest weight, not a small one") {
  for (int bit = 64 - Weight::kBytesBits; bit <= 62; ++bit) {
    const Weight weight = poisson(kInterval, 1).weight(std::uint64_t{1} << bit);
    CHECK(weight.bytes == UINT64_MAX);
    CHECK(weight.count == std::uint64_t{1} << Weight::kCountBits);
  }
}

TEST_CASE("mode all takes everything, at its own weight") {
  Sampler sampler;
  sampler.start(SamplingMode::kAll, 1, 0);
  become_thread(1);
  for (const std::uint64_t size : {0U, 1U, 5U, 4096U, 1U << 30}) {
    CHECK(sampled(sampler, size));
    CHECK(sampler.weight(size).count == std::uint64_t{1} << Weight::kCountBits);
    CHECK(sampler.weight(size).bytes == size << Weight::kBytesBits);
  }
}
