// What would break: a block handed out while the real functions were being found would reach a free that does
// not know it; another malloc library below or above the shim would get blocks of the libc's.
#include <algorithm>

#include "tests/support/catch.hpp"
#include "tests/support/exact.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

TEST_CASE("loader errors and dlclose work from start to exit") {
  Preloaded victim("dlerror_dlclose");
  const Ending ending = victim.exact().set("MALLOC_PERTURB_", "165").run();
  CHECK(ending.exit_code == 0);
  CHECK(ending.err.empty());
}

#ifdef MEMTRACE_JEMALLOC
TEST_CASE("with another malloc library preloaded behind the shim the heap is exact") {
  Preloaded victim("exact_heap", {"libc", "gigabytes"});
  victim.exact().set("LD_PRELOAD", shim_path().string() + ":" MEMTRACE_JEMALLOC);
  check_exact(victim.run(), 3);
}

TEST_CASE("a program linked to another malloc library is exact") {
  Preloaded victim("jemalloc_heap", {"libc", "gigabytes"});
  check_exact(victim.exact().run(), 3);
}

TEST_CASE("a malloc library in front of the shim has the heap, and one line says so") {
  Preloaded victim("exact_heap", {"libc", "gigabytes"});
  victim.exact().set("LD_PRELOAD", MEMTRACE_JEMALLOC ":" + shim_path().string());
  const Ending ending = victim.run();
  CAPTURE(ending.err);
  CHECK(ending.exit_code == 0);
  CHECK(std::count(ending.err.begin(), ending.err.end(), '\n') == 1);
  CHECK(ending.err.find(MEMTRACE_JEMALLOC " comes before libmemtrace.so") != std::string::npos);
  const auto reports = reports_in(ending.out);
  REQUIRE(reports.size() == 3);
  for (const Report& report : reports) CHECK(read_or_fail(report.file).records.empty());
}
#endif

}  // namespace
}  // namespace memtrace::test
