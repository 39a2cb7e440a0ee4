// What would break: a program that uses the trigger signal in a legal but rare way would crash, hang, or see
// something else than without the shim.
#include "tests/support/catch.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

TEST_CASE("rare uses of the trigger signal end as without the shim") {
  const char* which =
      GENERATE("siginfo_ignore", "racing_actions", "fork_in_action", "child_first_action", "vfork_resets",
               "system_v", "sets_and_holds", "interrupting", "one_time", "close_all");
  INFO(which);
  const Ending bare = Preloaded("signal_edges", {which}).without_shim().run();
  // Bare, SIGUSR2 would kill: those cases are about the shim's answer to it.
  const bool needs_shim = std::string(which) == "one_time" || std::string(which) == "close_all";
  if (!needs_shim) CHECK(bare.exit_code == 0);
  const Ending ending = Preloaded("signal_edges", {which}).exact().run();
  CHECK(ending.signal == 0);
  CHECK(ending.exit_code == 0);
}

}  // namespace
}  // namespace memtrace::test
