// Would break: a step by the rule of another address, or rules compiled again and again.
#include "preload/unwind/rule_cache.hpp"

#include <map>
#include <random>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;

namespace {

struct Started {
  PageArena arena;
  RuleCache cache;
  Started() {
    arena.start(64 << 20);
    REQUIRE(cache.start(arena));
  }
  // As the walk looks: first table, then the rest.
  [[nodiscard]] StepRule look(std::uint64_t address) {
    const std::uint64_t word = cache.at(RuleCache::place_of(address));
    return RuleCache::is_for(word, address) ? StepRule(word) : cache.find(address);
  }
};

StepRule rule_for(std::uint64_t n) {
  return {StepKind::kRsp, static_cast<std::int64_t>(n % 1000 + 1) * 8, n % 255 + 1};
}

}  // namespace

TEST_CASE("an empty cache knows nothing, and says so for every address") {
  Started started;
  for (const std::uint64_t address :
       {std::uint64_t{0x1000}, std::uint64_t{0x7fff'ffff'ffff}, std::uint64_t{0x55'5555'5555}}) {
    CHECK(started.look(address).kind() == StepKind::kNone);
  }
  // The empty word reads as "for" the addresses below 64 KiB, where no code is: kind kNone.
  CHECK(StepRule(started.cache.at(RuleCache::place_of(0x1234))).kind() == StepKind::kNone);
}

TEST_CASE("addresses that share a place in the first table are found in the second, and move back") {
  Started started;
  const std::uint64_t low = 0x1238;
  for (std::uint64_t i = 1; i < 64; ++i) started.cache.insert(i << 16 | low, rule_for(i));
  for (std::uint64_t i = 1; i < 64; ++i) {
    const std::uint64_t address = i << 16 | low;
    CHECK(RuleCache::is_for(started.cache.at(RuleCache::place_of(address)), address) == (i == 63));
  }
  for (std::uint64_t i = 1; i < 64; ++i) {
    const std::uint64_t address = i << 16 | low;
    CHECK(started.cache.find(address) == rule_for(i));
    CHECK(RuleCache::is_for(started.cache.at(RuleCache::place_of(address)), address));
    CHECK(StepRule(started.cache.at(RuleCache::place_of(address))) == rule_for(i));
  }
}

TEST_CASE("never the rule of another address, however many there are; most are kept") {
  Started started;
  std::mt19937_64 random(7);
  std::map<std::uint64_t, StepRule> truth;
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    // Code clusters: some modules, dense inside.
    const std::uint64_t address =
        (0x7f00'0000'0000 + (random() % 20 << 28) + random() % 2'000'000) & ((std::uint64_t{1} << 47) - 1);
    truth[address] = rule_for(i);
    started.cache.insert(address, rule_for(i));
  }
  std::size_t kept = 0;
  for (const auto& [address, rule] : truth) {
    const StepRule found = started.look(address);
    if (found.kind() == StepKind::kNone) continue;
    if (found != rule) FAIL("the rule of another address");
    ++kept;
  }
  CAPTURE(kept, truth.size());
  CHECK(kept * 100 > truth.size() * 75);
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t address = random() >> 17;
    if (!truth.contains(address)) CHECK(started.look(address).kind() == StepKind::kNone);
  }
}

TEST_CASE("addresses beyond user space are neither kept nor taken for others") {
  Started started;
  const std::uint64_t low = 0x7000'1234'5678;
  started.cache.insert(low, rule_for(1));
  for (unsigned bit = RuleCache::kAddressBits; bit < 64; ++bit) {
    const std::uint64_t high = low | std::uint64_t{1} << bit;
    CHECK(!RuleCache::is_for(started.cache.at(RuleCache::place_of(high)), high));
    CHECK(started.cache.find(high).kind() == StepKind::kNone);
    started.cache.insert(high, rule_for(2));
    CHECK(started.cache.find(high).kind() == StepKind::kNone);
    CHECK(started.look(low) == rule_for(1));
  }
}

TEST_CASE("clear forgets everything, and the cache goes on") {
  Started started;
  for (std::uint64_t i = 1; i < 1000; ++i) started.cache.insert(i * 0x12345, rule_for(i));
  started.cache.clear();
  for (std::uint64_t i = 1; i < 1000; ++i) CHECK(started.look(i * 0x12345).kind() == StepKind::kNone);
  started.cache.insert(0x12345, rule_for(5));
  CHECK(started.look(0x12345) == rule_for(5));
  RuleCache never_started;
  never_started.clear();
}

TEST_CASE("no memory: not started") {
  PageArena arena;
  RuleCache cache;
  CHECK_FALSE(cache.start(arena));
}

TEST_CASE("threads that insert, look and clear see a rule or nothing") {
  Started started;
  std::atomic<bool> wrong{false};
  test::run_threads(4, [&](std::size_t thread) {
    std::mt19937_64 random(thread);
    for (int i = 0; i < 100'000; ++i) {
      const std::uint64_t n = random() % 3000 + 1;
      const std::uint64_t address = n << 14;  // many to a place in the first table
      if (random() % 4 == 0) started.cache.insert(address, rule_for(n));
      const StepRule found = started.look(address);
      if (found.kind() != StepKind::kNone && found != rule_for(n)) wrong = true;
      if (thread == 0 && i % 1000 == 0) started.cache.clear();
    }
  });
  CHECK_FALSE(wrong);
}
