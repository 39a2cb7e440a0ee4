// Would break: a rule whose fields run into one another steps to a wrong frame, in silence.
#include "preload/unwind/step_rule.hpp"

#include "tests/support/catch.hpp"

using namespace memtrace;

TEST_CASE("every kind, offset and slot comes back, at its limits and between") {
  const auto kind = GENERATE(StepKind::kNone, StepKind::kRsp, StepKind::kRbp, StepKind::kRbpAt,
                             StepKind::kSignal, StepKind::kEnd, StepKind::kGuess, StepKind::kRspAt);
  const std::int64_t largest = StepRule::kMaxOffset - 8;
  for (const std::int64_t offset :
       {std::int64_t{0}, std::int64_t{8}, std::int64_t{16}, std::int64_t{0x5555 * 8},
        std::int64_t{0xaaaa * 8}, largest - 8, largest}) {
    for (const std::uint64_t slot :
         {std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{0x55}, std::uint64_t{0xaa}, std::uint64_t{128},
          StepRule::kMaxSlot - 1, StepRule::kMaxSlot}) {
      const StepRule rule(kind, offset, slot);
      CHECK(rule.kind() == kind);
      CHECK(rule.offset() == static_cast<std::uint64_t>(offset));
      CHECK(rule.signed_offset() == offset);
      CHECK(rule.slot() == slot);
      CHECK(rule.body() >> StepRule::kBits == 0);
      CHECK(StepRule(rule.body()) == rule);
    }
  }
}

TEST_CASE("negative offsets, of realigned frames") {
  for (const std::int64_t offset : {std::int64_t{-8}, std::int64_t{-16}, std::int64_t{-0x5555 * 8},
                                    -StepRule::kMaxOffset + 8, -StepRule::kMaxOffset}) {
    const StepRule rule(StepKind::kRbpAt, offset, StepRule::kMaxSlot);
    CHECK(rule.signed_offset() == offset);
    CHECK(rule.kind() == StepKind::kRbpAt);
    CHECK(rule.slot() == StepRule::kMaxSlot);
    CHECK(rule.body() >> StepRule::kBits == 0);
  }
}

TEST_CASE("plain rules are those by rsp and by rbp, and say which") {
  for (unsigned kind = 0; kind < 8; ++kind) {
    const StepRule rule(static_cast<StepKind>(kind), 64, 255);
    const bool plain = rule.kind() == StepKind::kRsp || rule.kind() == StepKind::kRbp;
    CHECK(rule.is_plain() == plain);
    if (plain) CHECK(rule.from_rbp() == (rule.kind() == StepKind::kRbp));
  }
}

TEST_CASE("what lies above a rule in its word is not the rule's") {
  const StepRule rule(StepKind::kRspAt, StepRule::kMaxOffset - 8, 255);
  CHECK(StepRule(rule.body() | ~std::uint64_t{0} << StepRule::kBits) == rule);
  CHECK(StepRule().kind() == StepKind::kNone);
  CHECK(StepRule(std::uint64_t{0}) == StepRule());
}
