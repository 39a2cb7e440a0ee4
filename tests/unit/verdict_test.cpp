// Would break: a verdict that two snapshots do not bear out. Each case is a process as it might have lived.
#include "analyzer/verdict.hpp"

#include <random>

#include "analyzer/code_index.hpp"
#include "analyzer/diff.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/fake_process.hpp"

using namespace memtrace;
using memtrace::test::FakeProcess;
using memtrace::test::FakeSymbolizer;

namespace {

// A process that ran for 1000 s before the old snapshot, which is taken 100 s before the new one.
constexpr std::int64_t kThen = 1000;
constexpr std::int64_t kNow = 1100;

struct Life {
  explicit Life(std::uint64_t seed, bool sampled = false) : random(seed) {
    process.header.start_monotonic_ns = 0;
    if (sampled) {
      process.header.mode = SamplingMode::kPoissonBytes;
      process.header.interval_bytes = 64 * 1024;
    }
    site = process.stack({{"Cache::put(int)", "cache.cc", 88, false}});
  }

  double uniform(double from, double to) { return std::uniform_real_distribution<double>(from, to)(random); }

  // A block, of 1 KiB, that lives from birth to death (seconds); snapshots see it when it spans their time.
  void live(double birth, double death) { blocks.push_back({birth, death}); }

  Snapshot at(std::int64_t second, FakeProcess& seen) const {
    for (const auto& block : blocks) {
      const auto number = seen.allocate(site, 1024, 0);
      seen.record(number).birth_ns = static_cast<std::int64_t>(block.first * 1e9);
    }
    Snapshot snapshot = seen.snapshot_at(second);
    std::erase_if(snapshot.records, [&](const Record& record) {
      const auto& block = blocks[record.sample_number - 1];
      return block.first > static_cast<double>(second) || block.second <= static_cast<double>(second);
    });
    return snapshot;
  }

  [[nodiscard]] Verdict verdict() const {
    FakeProcess before = process;
    FakeProcess after = process;
    const Snapshot then = at(kThen, before);
    const Snapshot now = at(kNow, after);
    CodeIndex index;
    const Side current{&now, index.add(now), {}};
    const Side old{&then, index.add(then), {}};
    Comparison comparison = compare(&old, current, index.stack_count(), BinBy::kStack);
    FakeSymbolizer symbols(process);
    FrameNames names(index, symbols);
    Progress progress("", 1, Progress::Show::kNever);
    const std::vector<bool> wanted(comparison.bins.size(), true);
    CallSites sites =
        group(comparison, wanted, {}, names, ThreadTable(ThreadTable::SameBy::kSerial), progress);
    return judge(rank(std::move(comparison), std::move(sites), {}), &then, now);
  }

  FakeProcess process;
  std::uint32_t site = 0;
  std::mt19937_64 random;
  std::vector<std::pair<double, double>> blocks;
};

constexpr double kForever = 1e9;

// How many of a hundred such processes get each of these words.
template <class Fill>
int share(Fill fill, std::initializer_list<VerdictWord> words, bool sampled = true) {
  int hits = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Life life(seed, sampled);
    fill(life);
    const VerdictWord got = life.verdict().word;
    hits += std::find(words.begin(), words.end(), got) != words.end() ? 1 : 0;
  }
  return hits;
}

void churn(Life& life, int per_second, double lifetime) {
  for (int i = 0; i < per_second * 300; ++i) {
    const double birth = life.uniform(800, 1100);
    life.live(birth, birth + std::exponential_distribution<double>(1 / lifetime)(life.random));
  }
}

}  // namespace

TEST_CASE("a steady leak is called a leak") {
  const bool sampled = GENERATE(true, false);
  const auto leak = [](Life& life) {
    for (int i = 0; i < 60; ++i) life.live(life.uniform(0, 1000), kForever);
    for (int i = 0; i < 60; ++i) life.live(life.uniform(1000, 1100), kForever);
  };
  CHECK(share(leak, {VerdictWord::kLeak}, sampled) >= 95);
}

TEST_CASE("a leak under churn is still called a leak") {
  const auto leak = [](Life& life) {
    churn(life, 1, 20);
    for (int i = 0; i < 120; ++i) life.live(life.uniform(1000, 1100), kForever);
  };
  CHECK(share(leak, {VerdictWord::kLeak}) >= 85);
}

TEST_CASE("evidence of a leak needs no more than the test of growth asks for") {
  // About 40 live samples, all replaced between the snapshots, and 20 leaked: the test finds six in ten.
  const auto leak = [](Life& life) {
    churn(life, 2, 20);
    for (int i = 0; i < 20; ++i) life.live(life.uniform(1000, 1100), kForever);
  };
  const int unnoticed = share(leak, {VerdictWord::kChurn, VerdictWord::kFlat});
  CHECK(unnoticed <= 48);
}

TEST_CASE("steady churn is never called a leak") {
  const double lifetime = GENERATE(5.0, 30.0, 200.0);
  const auto steady = [&](Life& life) { churn(life, 2, lifetime); };
  CAPTURE(lifetime);
  if (lifetime < 100) {
    CHECK(share(steady, {VerdictWord::kChurn, VerdictWord::kFlat}) >= 92);
    CHECK(share(steady, {VerdictWord::kLeak}) <= 5);
  }
}

TEST_CASE("what does not change is flat") {
  const auto flat = [](Life& life) {
    for (int i = 0; i < 100; ++i) life.live(life.uniform(0, 1000), kForever);
  };
  CHECK(share(flat, {VerdictWord::kFlat}) == 100);
}

TEST_CASE("what is given back shrinks") {
  const auto shrink = [](Life& life) {
    for (int i = 0; i < 100; ++i) life.live(life.uniform(0, 900), life.uniform(1000, 1100));
  };
  CHECK(share(shrink, {VerdictWord::kShrink}) == 100);
}

TEST_CASE("a cache that fills more and more slowly saturates") {
  const auto fill = [](Life& life) {
    for (int i = 0; i < 200; ++i) {
      const double birth = 1000 + std::exponential_distribution<double>(1.0 / 40)(life.random);
      life.live(birth, kForever);
    }
  };
  CHECK(share(fill, {VerdictWord::kSaturating}) >= 85);
}

TEST_CASE("births that stopped early in a young process are a warm-up, later in its life retention") {
  Life young(1);
  young.process.header.start_monotonic_ns = 950'000'000'000;
  Life old(1);
  for (auto* life : {&young, &old}) {
    for (int i = 0; i < 100; ++i) life->live(life->uniform(1000, 1030), kForever);
  }
  CHECK(young.verdict().word == VerdictWord::kWarmUp);
  CHECK(old.verdict().word == VerdictWord::kRetention);
}

TEST_CASE("one burst that stays is retention") {
  Life life(1);
  for (int i = 0; i < 100; ++i) life.live(1060, kForever);
  const Verdict verdict = life.verdict();
  CAPTURE(verdict.sentence);
  CHECK(verdict.word == VerdictWord::kRetention);
}

TEST_CASE("a handful of samples is no basis") {
  Life life(1, true);
  for (int i = 0; i < 7; ++i) life.live(1000 + 10 * i, kForever);
  const Verdict verdict = life.verdict();
  CAPTURE(verdict.sentence);
  CHECK(verdict.word == VerdictWord::kUnknown);
}

TEST_CASE("an empty newest quarter on few samples is not called a leak") {
  Life life(1, true);
  for (int i = 0; i < 6; ++i) {
    for (const int quarter : {0, 25, 50}) life.live(1001.5 + quarter + 4 * i, kForever);
  }
  const Verdict verdict = life.verdict();
  CAPTURE(verdict.sentence);
  CHECK(verdict.word == VerdictWord::kUnknown);
  CHECK_THAT(verdict.sentence, Catch::Contains("0 % from the newest; 18 samples are too few"));
}

TEST_CASE("growth that has stopped is not called a leak") {
  Life life(1, true);
  for (int i = 0; i < 60; ++i) life.live(1000.5 + i * 1.2, kForever);
  CHECK(life.verdict().word == VerdictWord::kSaturating);
}

TEST_CASE("a leak on few samples says how few") {
  Life life(1, true);
  for (int i = 0; i < 20; ++i) life.live(1001 + 5 * i, kForever);
  const Verdict verdict = life.verdict();
  CHECK(verdict.word == VerdictWord::kLeak);
  CHECK_THAT(verdict.sentence, Catch::EndsWith("; only 20 samples"));
}

TEST_CASE("the sentence carries the numbers") {
  Life life(1);
  for (int i = 0; i < 100; ++i) life.live(1000.5 + i, kForever);
  CHECK(life.verdict().sentence ==
        "1 call site grew by 100 KiB; of what was born there in 1 min 40 s and still lives, 25 % is from the "
        "oldest "
        "quarter of that time and 25 % from the newest");
}
