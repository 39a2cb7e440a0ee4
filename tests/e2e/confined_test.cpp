// What would break: a program that allows itself few system calls (sshd's unprivileged child) would be killed
// by the first one that a snapshot makes.
#include <signal.h>

#include "tests/support/catch.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

TEST_CASE(
    "a program that has confined itself outlives the signal, the API and its end: no snapshot, no system "
    "call") {
  const std::string how = GENERATE("prctl", "seccomp", "all_threads");
  INFO(how);
  Preloaded victim("confined", {how});
  victim.exact().set("MEMTRACE_AT_EXIT", "1").start();
  CHECK(victim.read_line() == "confined");
  victim.kill(SIGUSR2);
  victim.tell("");
  CHECK(victim.read_line() == "alive");
  const Ending ending = victim.finish();
  CHECK(ending.signal == 0);
  CHECK(ending.exit_code == 0);
  CHECK(ending.err.empty());
  CHECK(victim.snapshot_files().size() == (how == "all_threads" ? 2 : 1));  // those that it took before
}

}  // namespace
}  // namespace memtrace::test
