// What would break: in exact mode a call site would hold more or less than the program gave it, because a
// function is not hooked, is counted twice, counts what failed, or forgets whose a resized block is.
#include "tests/support/catch.hpp"
#include "tests/support/exact.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

TEST_CASE("every heap function is counted to the last unit, in snapshots and in their diff") {
  for (const std::string unwinder : {"cfi", "fp", "libunwind", "boost"}) {
    CAPTURE(unwinder);
    Preloaded victim("exact_heap", {unwinder == "fp" ? "library" : ""});
    const auto reports = check_exact(victim.exact().set("MEMTRACE_UNWIND", unwinder).run(), 3);
    CHECK(reports[0].truth.size() == (unwinder == "fp" ? 10 : 12));
    CHECK(reports[2].truth.empty());
    for (std::size_t i = 1; i < reports.size(); ++i) {
      const Sites growth = growth_by_memdiff(reports[i - 1].file, reports[i].file, "exact_heap");
      CHECK(difference(growth, minus(reports[i].truth, reports[i - 1].truth)) == "");
    }
    const Snapshot last = read_or_fail(reports[2].file);
    for (const char* counter :
         {"lost_lock", "lost_table_full", "lost_stack_store_full", "replaced_records"}) {
      CHECK(last.self.at(counter) == 0);
    }
  }
}

TEST_CASE("functions of an allocator that call one another by name are counted one time each") {
  Preloaded victim("exact_heap", {"gigabytes"});  // not those: that calloc writes to all of its blocks
  victim.exact().set("LD_PRELOAD", shim_path().string() + ":" + MEMTRACE_NESTING);
  for (const Report& report : check_exact(victim.run(), 3))
    CHECK(read_or_fail(report.file).self.at("nested_calls") > 0);
}

}  // namespace
}  // namespace memtrace::test
