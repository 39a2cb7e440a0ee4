// What would break: mappings that are split, moved, overlaid or refused would leave bytes behind or lose
// some; reservations and files would be taken for memory in use.
#include "tests/support/catch.hpp"
#include "tests/support/exact.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

std::map<AllocKind, std::uint64_t> pages_by_kind(const Snapshot& snapshot) {
  std::map<AllocKind, std::uint64_t> pages;
  for (const Record& record : snapshot.records) {
    if (record.kind != AllocKind::kHeap) pages[record.kind] += record.size_bytes / 4096;
  }
  return pages;
}

TEST_CASE("mappings are counted to the page, in snapshots and in their diff") {
  Preloaded victim("exact_maps");
  const auto reports = check_exact(victim.exact().run(), 13);
  for (std::size_t i = 1; i < reports.size(); ++i) {
    const Sites growth = growth_by_memdiff(reports[i - 1].file, reports[i].file, "exact_maps");
    CHECK(difference(growth, minus(reports[i].truth, reports[i - 1].truth)) == "");
  }
  // Known, but outside the totals.
  const auto pages = pages_by_kind(read_or_fail(reports[5].file));
  CHECK(pages.at(AllocKind::kReserved) == 1000 - 25 + 5);
  CHECK(pages.at(AllocKind::kFile) == 1 + 1);
  CHECK(pages.at(AllocKind::kShared) == 3);
}

TEST_CASE("a mapping whose maker was called by libc, and has left, is the program's all the same") {
  Preloaded victim("tail_map", {"7"});
  REQUIRE(victim.exact().run().exit_code == 0);
  CHECK(pages_by_kind(victim.snapshot(0)).at(AllocKind::kMmap) == 7 * 256);
}

TEST_CASE("MEMTRACE_MMAP=0 leaves mappings alone and the heap counted") {
  Preloaded victim("call_chain");
  const Ending ending = victim.exact().set("MEMTRACE_MMAP", "0").run();
  REQUIRE(ending.exit_code == 0);
  const Snapshot snapshot = victim.snapshot(0);
  CHECK(pages_by_kind(snapshot).empty());
  CHECK(sites_of(snapshot).at("innermost").count == 9);
}

}  // namespace
}  // namespace memtrace::test
