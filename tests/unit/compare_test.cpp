// Would break: a block in both snapshots that does not cancel, or one that is taken for another.
#include "analyzer/compare.hpp"

#include <random>

#include "analyzer/code_index.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/fake_process.hpp"

using namespace memtrace;
using memtrace::test::FakeProcess;

namespace {

struct Both {
  CodeIndex index;
  Comparison result;
};

Comparison compared(const Snapshot& old, const Snapshot& current, CodeIndex& index) {
  const Side current_side{&current, index.add(current), {}};
  const Side old_side{&old, index.add(old), {}};
  return compare(&old_side, current_side, index.stack_count(), BinBy::kStack);
}

Comparison compared(const Snapshot& old, const Snapshot& current) {
  CodeIndex index;
  return compared(old, current, index);
}

}  // namespace

TEST_CASE("blocks alive in both cancel, however they were sampled") {
  FakeProcess process;
  process.header.mode = GENERATE(SamplingMode::kAll, SamplingMode::kPoissonBytes);
  process.header.interval_bytes = 4096;
  const auto stack = process.stack({{"f", "a.cc", 1, false}});
  const auto other = process.stack({{"g", "b.cc", 2, false}});
  for (int i = 0; i < 100; ++i) process.allocate(stack, 10 + static_cast<std::uint64_t>(i) * 7);
  const auto dies = process.allocate(other, 64);
  const Snapshot then = process.snapshot_at(10);
  process.free(dies);
  process.allocate(other, 1000, 15);
  Snapshot now = process.snapshot_at(20);
  std::reverse(now.records.begin(), now.records.end());
  const Comparison result = compared(then, now);
  CHECK(result.same_process);
  REQUIRE(result.bins.size() == 2);
  const auto& kept = result.bins[0].tallies;
  CHECK(kept.old.samples == 100);
  CHECK(kept.current.samples == 100);
  CHECK(kept.born.bytes == 0);
  CHECK(kept.died.bytes == 0);
  CHECK(kept.born.samples == 0);
  CHECK(kept.old.bytes == kept.current.bytes);
  const auto& changed = result.bins[1].tallies;
  CHECK(changed.born.samples == 1);
  CHECK(changed.died.samples == 1);
  REQUIRE(result.born.size() == 1);
  CHECK(result.born[0].time_ns == 15 * FakeProcess::kSecond);
}

TEST_CASE("a mapping that shrank leaves its difference and no count") {
  FakeProcess process;
  const auto stack = process.stack({{"f", "a.cc", 1, false}});
  const auto mapping = process.allocate(stack, 1 << 20, 1, AllocKind::kMmap);
  const Snapshot then = process.snapshot_at(10);
  process.record(mapping).size_bytes = 1 << 18;
  const Comparison shrunk = compared(then, process.snapshot_at(20));
  CHECK(shrunk.totals.died.bytes == (1 << 20) - (1 << 18));
  CHECK(shrunk.totals.died.count == 0);
  CHECK(shrunk.totals.born.count == 0);
  CHECK(shrunk.totals.current.count == 1);
  CHECK(shrunk.died.empty());
  process.record(mapping).size_bytes = 3 << 20;
  CHECK(compared(then, process.snapshot_at(30)).totals.born.bytes == 2 << 20);
}

TEST_CASE("the parts of a split mapping are one allocation") {
  FakeProcess process;
  const auto stack = process.stack({{"f", "a.cc", 1, false}});
  const auto mapping = process.allocate(stack, 40960, 1, AllocKind::kMmap);
  const Snapshot then = process.snapshot_at(10);
  Snapshot now = process.snapshot_at(20);
  now.records[0].size_bytes = 8192;
  now.records.push_back(now.records[0]);
  now.records[1].address += 32768;
  now.records[1].size_bytes = 4096;
  const Comparison result = compared(then, now);
  CHECK(result.totals.current.bytes == 12288);
  CHECK(result.totals.current.count == 1);
  CHECK(result.totals.died.bytes == 40960 - 12288);
  CHECK(result.totals.died.count == 0);
  static_cast<void>(mapping);
}

TEST_CASE("identity is thread and number, and never spans kinds, stacks or sizes of blocks") {
  FakeProcess process;
  const auto stack = process.stack({{"f", "a.cc", 1, false}});
  const auto other = process.stack({{"g", "a.cc", 2, false}});
  process.allocate(stack, 100);
  const Snapshot then = process.snapshot_at(10);
  Snapshot now = process.snapshot_at(20);
  SECTION("another thread") { now.records[0].thread = 1; }
  SECTION("another number") { now.records[0].sample_number = 77; }
  SECTION("another size") { now.records[0].size_bytes = 101; }
  SECTION("another stack") { now.records[0].stack = other; }
  SECTION("another kind") { now.records[0].kind = AllocKind::kMmap; }
  const Comparison result = compared(then, now);
  CHECK(result.totals.born.samples == 1);
  CHECK(result.totals.died.samples == 1);
}

TEST_CASE("reserved, file and shared memory is outside") {
  FakeProcess process;
  const auto stack = process.stack({{"f", "a.cc", 1, false}});
  for (const auto kind : {AllocKind::kReserved, AllocKind::kFile, AllocKind::kShared}) {
    process.allocate(stack, 1 << 30, 1, kind);
  }
  const Snapshot then = process.snapshot_at(10);
  const Comparison result = compared(then, process.snapshot_at(20));
  CHECK(result.bins.empty());
  CHECK(result.totals.current.bytes == 0);
}

TEST_CASE("two processes of one build share call sites under ASLR, and nothing cancels") {
  FakeProcess first;
  FakeProcess second;
  second.header.session.bytes[0] = 2;
  second.base += 0x7000;
  for (auto* process : {&first, &second}) {
    process->allocate(process->stack({{"f", "a.cc", 1, false}, {"main", "m.cc", 9, false}}), 100);
  }
  CodeIndex index;
  const Comparison result = compared(first.snapshot_at(10), second.snapshot_at(20), index);
  CHECK(index.stack_count() == 1);
  CHECK_FALSE(result.same_process);
  REQUIRE(result.bins.size() == 1);
  CHECK(result.bins[0].tallies.born.samples == 1);
  CHECK(result.bins[0].tallies.died.samples == 1);
}

TEST_CASE("modules are the same by build-id, without one by path") {
  FakeProcess first;
  FakeProcess second;
  const auto same_stacks = [&] {
    for (auto* process : {&first, &second}) process->stack({{"f", "a.cc", 1, false}});
    CodeIndex index;
    const Snapshot a = first.snapshot_at(1);
    const Snapshot b = second.snapshot_at(2);
    return index.add(a) == index.add(b);
  };
  SECTION("another path, one build-id") {
    second.module_path = "/opt/payments";
    CHECK(same_stacks());
  }
  SECTION("one path, another build-id") {
    second.build_id = "ef01";
    CHECK_FALSE(same_stacks());
  }
  SECTION("no build-id, one path") {
    first.build_id = second.build_id = "";
    CHECK(same_stacks());
  }
  SECTION("no build-id, another path") {
    first.build_id = second.build_id = "";
    second.module_path = "/opt/payments";
    CHECK_FALSE(same_stacks());
  }
}

TEST_CASE("random lives: growth by difference equals growth by births and deaths") {
  std::mt19937_64 random(7);
  for (int round = 0; round < 200; ++round) {
    FakeProcess process;
    std::vector<std::uint32_t> stacks;
    for (std::uint32_t i = 0; i < 5; ++i) stacks.push_back(process.stack({{"f", "a.cc", i + 1, false}}));
    std::vector<std::uint64_t> live;
    const auto churn = [&] {
      for (int i = 0; i < 50; ++i) {
        if (random() % 3 != 0 || live.empty()) {
          live.push_back(process.allocate(stacks[random() % 5], random() % 500));
        } else {
          process.free(live[random() % live.size()]);
        }
      }
    };
    churn();
    const Snapshot then = process.snapshot_at(10);
    churn();
    const Snapshot now = process.snapshot_at(20);
    for (const auto& bin : compared(then, now).bins) {
      const auto& t = bin.tallies;
      REQUIRE(t.current.bytes - t.old.bytes == t.born.bytes - t.died.bytes);
      REQUIRE(t.current.count - t.old.count == t.born.count - t.died.count);
    }
  }
}
