// What would break: a program that ends while a snapshot is written would hang, crash, end otherwise than
// alone, or leave half a file under a final name.
#include <cstdlib>
#include <filesystem>
#include <iterator>

#include "tests/support/catch.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

std::size_t files_in(const std::filesystem::path& directory) {
  const std::filesystem::directory_iterator begin(directory);
  return static_cast<std::size_t>(std::distance(begin, end(begin)));
}

TEST_CASE("a program ends as without the shim, in the middle of a snapshot, too") {
  const int turns = std::getenv("TEST_FULL") != nullptr ? 200 : 10;
  for (const std::string how :
       {"return", "exit", "_exit", "quick_exit", "abort", "fault", "kill", "exec", "last_thread"}) {
    CAPTURE(how);
    const Ending bare = Preloaded("ends_mid_snapshot", {how}).without_shim().run();
    for (int turn = 0; turn < turns; ++turn) {
      CAPTURE(turn);
      Preloaded victim("ends_mid_snapshot", {how, "ask"});
      const bool at_exit = turn % 2 == 1;
      const Ending ending = victim.exact().set("MEMTRACE_AT_EXIT", at_exit ? "1" : "0").run();
      CHECK(ending.exit_code == bare.exit_code);
      CHECK(ending.signal == bare.signal);
      CHECK(ending.out == bare.out);
      CHECK(ending.err == bare.err);
      std::size_t at_the_end = 0;
      for (const auto& file : victim.snapshot_files()) {
        const Snapshot snapshot = read_or_fail(file);
        CHECK(snapshot.records.size() >= 1000);
        at_the_end += snapshot.reason == TriggerReason::kExit;
      }
      const bool normally = how == "return" || how == "exit" || how == "last_thread";
      CHECK(at_the_end == (at_exit && normally));
      // A snapshot at work is let come to its end; those that end at once cannot wait.
      if (normally) CHECK(files_in(victim.dir()) == victim.snapshot_files().size());
      if (normally && !at_exit) CHECK(victim.snapshot_files().size() == 1);
    }
  }
}

}  // namespace
}  // namespace memtrace::test
