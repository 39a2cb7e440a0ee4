// Would break: calling chance a leak, or a leak chance.
#include "analyzer/significance.hpp"

#include <algorithm>
#include <random>
#include <vector>

#include "tests/support/catch.hpp"

using namespace memtrace;

namespace {

constexpr int kSeeds = 4000;

// In a steady state births and deaths of samples are Poisson of equal mean; a leak adds to the births.
double rejections(double turnover, double leaked) {
  int rejected = 0;
  for (int seed = 0; seed < kSeeds; ++seed) {
    std::mt19937_64 random(static_cast<std::uint64_t>(seed));
    std::poisson_distribution<std::uint64_t> births(turnover + leaked);
    std::poisson_distribution<std::uint64_t> deaths(turnover);
    const std::uint64_t born = births(random);
    rejected += growth_test(born, deaths(random)) <= 0.05 ? 1 : 0;
  }
  return static_cast<double>(rejected) / kSeeds;
}

}  // namespace

TEST_CASE("p-values are those of the exact binomial distribution") {
  CHECK(binomial_test(0, 0) == 1);
  CHECK(binomial_test(7, 7) == 1);
  CHECK(binomial_test(1, 0) == 1);
  CHECK(binomial_test(5, 0) == Approx(2.0 / 32));
  CHECK(binomial_test(0, 5) == Approx(2.0 / 32));
  CHECK(binomial_test(9, 1) == Approx(2 * 11.0 / 1024));
  CHECK(growth_test(0, 0) == 1);
  CHECK(growth_test(5, 0) == Approx(1.0 / 32));
  CHECK(growth_test(0, 5) == 1);
  CHECK(growth_test(9, 1) == Approx(11.0 / 1024));
  CHECK(growth_test(1, 9) == Approx(1023.0 / 1024));
  CHECK(growth_test(2, 2) == Approx(11.0 / 16));
}

TEST_CASE("false alarms stay below the nominal 5 %") {
  const double turnover = GENERATE(5.0, 10.0, 40.0, 100.0, 1000.0);
  const double rate = rejections(turnover, 0);
  CAPTURE(turnover, rate);
  CHECK(rate <= 0.05);
  if (turnover >= 40) CHECK(rate >= 0.025);
}

TEST_CASE("what shrinks is no growth") {
  int rejected = 0;
  for (std::uint64_t died = 1; died < 200; ++died) rejected += growth_test(died / 2, died) <= 0.5 ? 1 : 0;
  CHECK(rejected == 0);
}

TEST_CASE("leaks on a site with forty live samples are found as often as theory has it") {
  // All forty are replaced between the snapshots: the hardest case.
  CHECK(rejections(40, 10) == Approx(0.24).margin(0.03));
  CHECK(rejections(40, 20) == Approx(0.60).margin(0.03));
  CHECK(rejections(40, 40) == Approx(0.98).margin(0.02));
  // Half of them are.
  CHECK(rejections(20, 10) == Approx(0.36).margin(0.03));
  CHECK(rejections(20, 20) == Approx(0.80).margin(0.03));
  CHECK(rejections(20, 40) >= 0.98);
}

TEST_CASE("adjusting keeps the order, never falls below the p-value and is exact on a known table") {
  const std::vector<double> p = {0.01, 0.04, 0.03, 0.005, 0.5};
  const std::vector<double> q = benjamini_hochberg(p);
  CHECK(q[3] == Approx(0.025));
  CHECK(q[0] == Approx(0.025));
  CHECK(q[2] == Approx(0.05));
  CHECK(q[1] == Approx(0.05));
  CHECK(q[4] == Approx(0.5));
  CHECK(benjamini_hochberg({}).empty());
}

TEST_CASE("among many steady sites an alarm is rare") {
  constexpr int kSites = 200;
  constexpr int kRuns = 2000;
  int alarms = 0;
  for (int run = 0; run < kRuns; ++run) {
    std::mt19937_64 random(static_cast<std::uint64_t>(run));
    std::poisson_distribution<std::uint64_t> turnover(30);
    std::vector<double> p(kSites);
    for (auto& value : p) {
      const std::uint64_t born = turnover(random);
      value = growth_test(born, turnover(random));
    }
    alarms += std::ranges::min(benjamini_hochberg(p)) <= 0.05 ? 1 : 0;
  }
  CAPTURE(alarms);
  CHECK(alarms <= 0.05 * kRuns);
}
