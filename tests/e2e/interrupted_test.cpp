// What would break: a handler that strikes in the midst of the shim, and allocates, forks or jumps away,
// would hang the program, lose what is allocated afterwards, or leave a record that is wrong.
#include "tests/support/catch.hpp"
#include "tests/support/exact.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

// The victim, over a malloc that may be interrupted anywhere.
struct Interrupted {
  Preloaded victim;
  Ending ending;
  explicit Interrupted(const std::vector<std::string>& how) : victim("interrupted", how) {
    const std::string malloc = program_path("objects/reentrant_malloc.so");
    ending = victim.exact().set("LD_PRELOAD", shim_path().string() + ":" + malloc).run();
    CAPTURE(ending.err);
    REQUIRE(ending.signal == 0);
    REQUIRE(ending.exit_code == 0);
    REQUIRE(reports_in(ending.out).size() == 1);
  }
  [[nodiscard]] Sites truth() const { return reports_in(ending.out)[0].truth; }
  [[nodiscard]] Snapshot snapshot() const { return victim.snapshot(0); }
};

std::int64_t lost(const Snapshot& snapshot) {
  return static_cast<std::int64_t>(snapshot.self.at("nested_calls") + snapshot.self.at("lost_lock"));
}

constexpr Held kKeptAfter{99900, 100};

TEST_CASE("a handler that jumps out of malloc silences nothing further up the stack") {
  const std::string call = GENERATE("malloc", "calloc", "realloc");
  for (int i = 0; i < 2; ++i) {
    const std::string when = std::to_string(200 + i * 370);  // microseconds
    CAPTURE(call, when);
    const Snapshot snapshot = Interrupted({"jumps", call, "0", when, "1"}).snapshot();
    const Held found = sites_of(snapshot)["keep_after"];
    // Where the jump took a lock along, what belongs under it is lost, and counted.
    CHECK(found.count + lost(snapshot) >= kKeptAfter.count);
    CHECK(found.count > kKeptAfter.count / 2);
  }
}

TEST_CASE("what a handler allocates in the midst of malloc is known, or counted as passed through") {
  const std::string call = GENERATE("malloc", "calloc", "realloc", "memalign");
  const std::string alternate = GENERATE("0", "1");
  CAPTURE(call, alternate);
  const Interrupted run({"mallocs", call, alternate, "50", "2000"});
  const Snapshot snapshot = run.snapshot();
  Sites found = sites_of(snapshot);
  CHECK(found["keep_after"] == kKeptAfter);
  const auto missing = run.truth().at("keep_in_handler").count - found["keep_in_handler"].count;
  CHECK(missing >= 0);
  CHECK(missing <= lost(snapshot));
}

TEST_CASE("a child forked from a handler goes on into the malloc that was interrupted") {
  const std::string call = GENERATE("malloc", "realloc");
  const std::string alternate = GENERATE("0", "1");
  CAPTURE(call, alternate);
  const Interrupted run({"forks", call, alternate, "300", "150"});
  CHECK(sites_of(run.snapshot())["keep_after"] == kKeptAfter);
}

}  // namespace
}  // namespace memtrace::test
