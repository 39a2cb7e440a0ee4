// What would break: under eight threads that free and resize each other's blocks a record would be lost, stay
// behind its block, or go to the wrong call site.
#include <cstdlib>

#include "tests/support/catch.hpp"
#include "tests/support/exact.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

void run_model(const std::string& operations_per_thread, const std::string& seed) {
  Preloaded victim("random_model", {operations_per_thread, seed});
  CAPTURE(seed);
  const auto reports = check_exact(victim.exact().run(), 3);
  CHECK(reports[0].truth.size() == 7);
  const Sites growth = growth_by_memdiff(reports[0].file, reports[1].file, "random_model");
  CHECK(difference(growth, minus(reports[1].truth, reports[0].truth)) == "");
  const Snapshot last = read_or_fail(reports[2].file);
  CHECK(last.self.at("lost_lock") == 0);
  CHECK(last.self.at("replaced_records") == 0);
}

// A million; ten in the long form.
TEST_CASE("a million random operations of eight threads leave every call site exact") {
  run_model(std::getenv("TEST_FULL") ? "1250000" : "125000", "1");
}

TEST_CASE("short runs with other seeds are exact too") {
  for (int seed = 2; seed < 8; ++seed) run_model("4000", std::to_string(seed));
}

}  // namespace
}  // namespace memtrace::test
