// What would break: a program written against memtrace.h would not run without the shim, or not get the
// snapshot, the label and the errors that the header promises.
#include <sstream>

#include "tests/support/catch.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

TEST_CASE("the API works from C and from C++") {
  const std::string program = GENERATE("api_user", "api_user_cxx");
  CAPTURE(program);
  Preloaded victim(program);
  const Ending ending = victim.exact().run();
  CAPTURE(ending.err, ending.out);
  REQUIRE(ending.exit_code == 0);
  CHECK(ending.err.empty());
  std::istringstream lines(ending.out);
  std::string line;
  std::getline(lines, line);
  CHECK(line == "stop 0 start 0");
  std::getline(lines, line);
  CHECK(line == "snapshot 0 " + victim.snapshot_files().at(0).filename().string());
  CHECK(line.find(".0001.a.label_with-all.snap") != std::string::npos);
  std::getline(lines, line);
  CHECK(line == "cut 0 " + victim.dir().string().substr(0, 7));
  for (const char* expected : {": 0", "with/slash: 22", "with space: 22", "1234: 0", "12345: 22"}) {
    std::getline(lines, line);
    CHECK(line.rfind("label ", 0) == 0);
    CHECK(line.find(expected) != std::string::npos);
  }
  const Snapshot first = victim.snapshot(0);
  CHECK(first.label == "a.label_with-all");
  CHECK(sites_of(first) == Sites{{"recorded", {1000, 2}}});  // nothing of what came between stop and start
  CHECK(victim.snapshot_files().size() == 4);
}

TEST_CASE("threads that take snapshots at once are each told their own file") {
  Preloaded victim("concurrent_snapshots");
  const Ending ending = victim.exact().run();
  CAPTURE(ending.err);
  CHECK(ending.exit_code == 0);
  CHECK(victim.snapshot_files().size() == 80);
}

TEST_CASE("without the shim every call says so and does nothing") {
  const std::string program = GENERATE("api_user", "api_user_cxx");
  Preloaded victim(program);
  const Ending ending = victim.without_shim().run();
  REQUIRE(ending.exit_code == 0);
  CHECK(ending.out.rfind("stop 38 start 38\nsnapshot 38 \ncut 38 xxxxxxx\n", 0) == 0);
  CHECK(victim.snapshot_files().empty());
}

}  // namespace
}  // namespace memtrace::test
