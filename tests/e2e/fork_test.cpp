// What would break: a forked child would hang on a lock that a vanished thread held, write under its parent's
// name, or lose or invent memory; a daemon's snapshots would land in the wrong directory.
#include <sstream>

#include "tests/support/catch.hpp"
#include "tests/support/exact.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

TEST_CASE("a child goes on under its own name and session, and both sides stay exact") {
  const std::string how = GENERATE("fork", "_Fork", "clone", "grandchild");
  CAPTURE(how);
  Preloaded victim("forked_children", {how});
  const Ending ending = victim.exact().run();
  CAPTURE(ending.err);
  REQUIRE(ending.exit_code == 0);
  const auto reports = reports_in(ending.out);
  REQUIRE(reports.size() == (how == "grandchild" ? 4 : 3));
  std::vector<Snapshot> snapshots;
  for (const Report& report : reports) {
    CAPTURE(report.file);
    snapshots.push_back(read_or_fail(report.file));
    CHECK(difference(sites_of(snapshots.back()), report.truth) == "");
    std::ostringstream own_name;
    own_name << "." << snapshots.back().pid << ".";
    CHECK(report.file.string().find(own_name.str()) != std::string::npos);
  }
  const Snapshot& parent = snapshots.front();
  const Snapshot& after = snapshots.back();
  CHECK(after.session == parent.session);
  CHECK(after.pid == parent.pid);
  CHECK(after.sequence == 2);
  for (std::size_t i = 1; i + 1 < snapshots.size(); ++i) {
    CHECK(snapshots[i].session != parent.session);
    CHECK(snapshots[i].pid != parent.pid);
    CHECK(snapshots[i].sequence == 1);
    CHECK(snapshots[i].start_monotonic_ns >= parent.start_monotonic_ns);
    CHECK(snapshots[i].self.at("forks_seen") >= 1);
  }
  if (how == "fork") CHECK(snapshots[1].ppid == parent.pid);
}

TEST_CASE("vfork and posix_spawn leave the parent exact and alone") {
  const std::string how = GENERATE("vfork", "spawn");
  CAPTURE(how);
  Preloaded victim("forked_children", {how});
  check_exact(victim.exact().run(), 2);
  CHECK(victim.snapshot_files().size() == 2);
}

TEST_CASE("MEMTRACE_CHILDREN=0 leaves children untraced and the parent exact") {
  Preloaded victim("forked_children", {"fork"});
  victim.exact().set("MEMTRACE_CHILDREN", "0").start();
  const auto until_snapshot = [&] {
    std::vector<std::string> lines;
    do lines.push_back(victim.read_line());
    while (lines.back().rfind("snapshot", 0) != 0);
    return lines;
  };
  std::ostringstream parents;
  for (const auto& line : until_snapshot()) parents << line << "\n";
  CHECK(until_snapshot().back() == "snapshot failed: 38");  // the child's
  const Ending ending = victim.finish();
  REQUIRE(ending.exit_code == 0);
  for (const Report& report : reports_in(parents.str() + ending.out)) {
    CHECK(difference(sites_of(read_or_fail(report.file)), report.truth) == "");
  }
  CHECK(victim.snapshot_files().size() == 2);
}

TEST_CASE("a thousand forks under eight allocating threads all end, and their snapshots are right") {
  const std::string unwinder = GENERATE("cfi", "fp", "libunwind");
  CAPTURE(unwinder);
  Preloaded victim("fork_storm", {"500", "25"});
  const Ending ending = victim.exact().set("MEMTRACE_UNWIND", unwinder).run();
  CAPTURE(ending.err);
  REQUIRE(ending.exit_code == 0);
  const auto reports = reports_in(ending.out);
  CHECK(reports.size() == 20);
  for (const Report& report : reports) {
    const Snapshot snapshot = read_or_fail(report.file);
    Sites childs = sites_of(snapshot);
    std::erase_if(childs, [](const auto& site) { return site.first != "in_child"; });
    CHECK(difference(childs, report.truth) == "");
    CHECK(snapshot.self.at("lost_lock") == 0);
  }
  CHECK(ending.out.find("all ended") != std::string::npos);
}

TEST_CASE("a daemon's snapshots land where it was started") {
  Preloaded victim("daemon");
  const Ending ending = victim.exact().set("MEMTRACE_DIR", "relative").run();
  REQUIRE(ending.exit_code == 0);
  const auto reports = reports_in(ending.out);
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].file.parent_path() == victim.dir() / "relative");
  const Snapshot snapshot = read_or_fail(reports[0].file);
  CHECK(difference(sites_of(snapshot), reports[0].truth) == "");
  const auto mode = std::filesystem::status(reports[0].file).permissions();
  CHECK(mode == (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));
}

}  // namespace
}  // namespace memtrace::test
