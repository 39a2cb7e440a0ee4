// What would break: handlers around fork would wait for the shim or it for them; a grandchild would go on as
// its parent; a vfork child's signal would be answered in its parent's memory; a child would copy our tables.
#include "tests/support/catch.hpp"
#include "tests/support/exact.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

TEST_CASE("handlers around fork that allocate under their own lock neither hang nor are lost") {
  struct Row {
    std::string unwinder;
    std::string forks;  // libunwind: a fork may have to wait for the gate's patience to end
  };
  const Row row = GENERATE(Row{"cfi", "300"}, Row{"libunwind", "20"});
  CAPTURE(row.unwinder);
  Preloaded victim("atfork_handlers", {row.forks});
  check_exact(victim.exact().set("MEMTRACE_UNWIND", row.unwinder).run(), 2);
}

TEST_CASE("a grandchild is set up anew, however little its parent had allocated before it forked") {
  const std::string blocks = GENERATE("0", "1", "5");
  CAPTURE(blocks);
  Preloaded victim("grandchildren", {blocks, "8"});
  const Ending ending = victim.exact().run();
  CAPTURE(ending.err);
  REQUIRE(ending.exit_code == 0);
  const auto reports = reports_in(ending.out);
  REQUIRE(reports.size() == 8);
  for (const Report& report : reports) {
    const Snapshot snapshot = read_or_fail(report.file);
    CHECK(sites_of(snapshot).at("in_grandchild") == report.truth.at("in_grandchild"));
    CHECK(snapshot.self.at("forks_seen") == 2);
    CHECK(snapshot.self.at("lost_lock") == 0);
  }
}

TEST_CASE("a vfork child that is sent the trigger signal takes no snapshot, and its parent stays exact") {
  Preloaded victim("vfork_signals", {"300"});
  check_exact(victim.exact().run(), 1);
  CHECK(victim.snapshot_files().size() == 1);
}

TEST_CASE("a child copies hardly more than without the shim") {
  const auto copied = [](bool with_shim) {
    Preloaded victim("copy_on_write");
    if (!with_shim) victim.without_shim();
    return std::stol(victim.exact().run().out);
  };
  const long bare = copied(false);
  const long with_shim = copied(true);
  CAPTURE(bare, with_shim);
  CHECK(with_shim - bare <= 1024);  // KiB; the parent's tables have 12 MiB
}

}  // namespace
}  // namespace memtrace::test
