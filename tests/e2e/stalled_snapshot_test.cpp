// What would break: a program would wait for its snapshot: for a disk that is slow, a file system that hangs,
// a lock that is held while the file is written.
//
// The snapshot thread is stopped before each of its calls, for as long as the program needs to answer.
#include <sys/mman.h>
#include <sys/syscall.h>

#include "tests/support/catch.hpp"
#include "tests/support/preloaded.hpp"
#include "tests/support/snapshot_tracer.hpp"

namespace memtrace::test {
namespace {

TEST_CASE("while a snapshot stands still, the program does not") {
  Preloaded victim("steady_host");
  victim.exact().start();
  REQUIRE(victim.read_line() == "ready");
  SnapshotTracer tracer(victim.pid());
  std::size_t calls = 0;
  for (int snapshot = 0; snapshot < 2; ++snapshot) {
    tracer.take([&](SystemCall& call) {
      ++calls;
      victim.tell("");
      CHECK(victim.read_line().rfind("step " + std::to_string(calls), 0) == 0);
      // Nor does it get memory that may be executed, which hardened services refuse.
      const bool maps = call.number == SYS_mmap || call.number == SYS_mprotect;
      CHECK_FALSE((maps && (call.arguments[2] & PROT_EXEC) != 0));
    });
  }
  CHECK(calls > 100);
  CHECK(victim.snapshot(0).self.at("lost_lock") == 0);
  CHECK(victim.snapshot(1).self.at("lost_lock") == 0);
}

}  // namespace
}  // namespace memtrace::test
