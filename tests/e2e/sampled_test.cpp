// What would break: what a sampled snapshot stands for would be more or less than the truth on average, for
// small blocks, for large ones, or where sizes are mixed under one call site.
#include <algorithm>
#include <cmath>

#include "analyzer/estimate.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

struct Mean {
  double sum = 0;
  double squares = 0;
  int n = 0;
  void add(double x) {
    sum += x;
    squares += x * x;
    ++n;
  }
  [[nodiscard]] double value() const { return sum / n; }
  [[nodiscard]] double error() const { return std::sqrt((squares - sum * sum / n) / (n - 1) / n); }
};

TEST_CASE("over a hundred seeds the mean estimates are the truth") {
  Mean bytes;
  Mean counts;
  Mean shim_bytes;
  Mean shim_counts;
  Held truth;
  for (int seed = 1; seed <= 100; ++seed) {
    Preloaded victim("mixed_sizes");
    victim.set("MEMTRACE_SEED", std::to_string(seed)).set("MEMTRACE_SAMPLE", "256KiB");
    const Ending ending = victim.set("MEMTRACE_UNWIND", "fp").run();
    REQUIRE(ending.exit_code == 0);
    truth = reports_in(ending.out).at(0).truth.at("mixed");
    const Snapshot snapshot = victim.snapshot(0);
    CHECK(snapshot.fixed_seed);

    const Sampling sampling = sampling_of(snapshot);
    Tally tally;
    std::vector<bool> of_site(snapshot.stacks.size());
    for (const Record& record : snapshot.records) {
      if (stack_of(snapshot, record)[0].function != "mixed") continue;
      of_site[record.stack] = true;
      tally.add(weigh(record.size_bytes, record.kind, sampling));
    }
    Held by_shim;
    for (std::size_t i = 0; i < of_site.size(); ++i) {
      if (!of_site[i]) continue;
      by_shim.bytes += static_cast<std::int64_t>(snapshot.stacks[i].live_bytes);
      by_shim.count += static_cast<std::int64_t>(snapshot.stacks[i].live_count);
    }
    bytes.add(tally.bytes);
    counts.add(tally.count);
    shim_bytes.add(static_cast<double>(by_shim.bytes));
    shim_counts.add(static_cast<double>(by_shim.count));
  }
  const auto true_bytes = static_cast<double>(truth.bytes);
  const auto true_count = static_cast<double>(truth.count);
  CAPTURE(true_bytes, bytes.value(), bytes.error(), true_count, counts.value(), counts.error());
  CHECK(std::abs(bytes.value() - true_bytes) < 3 * bytes.error());
  CHECK(std::abs(counts.value() - true_count) < 3 * counts.error());
  // An error so wide that anything passes would prove nothing.
  CHECK(bytes.error() < true_bytes / 50);
  CHECK(counts.error() < true_count / 10);
  // The shim's own sums are the same estimates, rounded once.
  CHECK(std::abs(shim_bytes.value() - bytes.value()) < true_bytes * 1e-6);
  CHECK(std::abs(shim_counts.value() - counts.value()) < true_count * 1e-4);
}

TEST_CASE("a fixed seed gives the same samples again, another seed others") {
  const auto samples = [](const char* seed) {
    Preloaded victim("mixed_sizes");
    REQUIRE(victim.set("MEMTRACE_SEED", seed).set("MEMTRACE_UNWIND", "fp").run().exit_code == 0);
    std::vector<std::uint64_t> sizes;
    for (const Record& record : victim.snapshot(0).records) sizes.push_back(record.size_bytes);
    std::sort(sizes.begin(), sizes.end());
    return sizes;
  };
  CHECK(samples("7") == samples("7"));
  CHECK(samples("7") != samples("8"));
}

TEST_CASE("a block is tried one time, also where calloc and realloc call malloc by name") {
  for (const std::string between : {"", MEMTRACE_NESTING}) {
    CAPTURE(between);
    Preloaded victim("callocs");
    victim.set("MEMTRACE_SAMPLE", "64KiB").set("MEMTRACE_SEED", "1").set("MEMTRACE_AT_EXIT", "1");
    if (!between.empty()) victim.set("LD_PRELOAD", shim_path().string() + ":" + between);
    REQUIRE(victim.run().exit_code == 0);
    // 200,000 of 1,000 bytes and 100,000 of one, each with its own chance.
    const double p = -std::expm1(-1000.0 / 65536);
    const double expected = 200'000 * p + 100'000.0 / 65536;
    const auto samples = static_cast<double>(victim.snapshot(0).self.at("samples"));
    CHECK(std::abs(samples - expected) < 5 * std::sqrt(expected));
  }
}

}  // namespace
}  // namespace memtrace::test
