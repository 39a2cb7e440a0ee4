// What would break: a thread's last allocations would be lost, crash it, or leave memory behind for ever; a
// thread that was cancelled or jumped out of malloc would be silent from then on.
#include "tests/support/catch.hpp"
#include "tests/support/exact.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

TEST_CASE("what destructors of threads allocate and free is exact") {
  check_exact(Preloaded("thread_ends").exact().run(), 1);
}

TEST_CASE("threads that come and go leave nothing behind") {
  const std::string sample = GENERATE("all", "1KiB");
  CAPTURE(sample);
  Preloaded victim("short_threads", {"10000"});
  const Ending ending = victim.set("MEMTRACE_SAMPLE", sample).run();
  check_silent(ending);
  CHECK(std::stol(ending.out) < 1024);  // KiB, of 9000 threads
}

TEST_CASE("threads cancelled in the midst of malloc silence nobody who comes after them") {
  // Below the shim a malloc that may be left anywhere: libc's keeps a lock of its own then.
  const std::string malloc = program_path("objects/reentrant_malloc.so");
  Preloaded victim("cancelled", {"200"});
  const Ending ending = victim.exact().set("LD_PRELOAD", shim_path().string() + ":" + malloc).run();
  CAPTURE(ending.err);
  REQUIRE(ending.exit_code == 0);
  const Report said = reports_in(ending.out).at(0);
  const Snapshot snapshot = read_or_fail(said.file);
  const Held found = sites_of(snapshot)["keep"];
  const Held truth = said.truth.at("keep");
  // Of what belongs under a lock that a thread took along, all is lost, and counted.
  const std::uint64_t lost = snapshot.self.at("lost_lock") + snapshot.self.at("lost_in_snapshot");
  CHECK(found.count + static_cast<std::int64_t>(lost) >= truth.count);
  CHECK(found.count > truth.count / 2);
}

TEST_CASE("coroutines that go on in another thread are exact") {
  check_exact(Preloaded("migrating").exact().run(), 1);
}

TEST_CASE("floating-point state and odd stacks are left alone") {
  const std::string sample = GENERATE("all", "64");
  CAPTURE(sample);
  Preloaded bare("float_state");
  REQUIRE(bare.without_shim().run().exit_code == 0);
  Preloaded victim("float_state");
  const Ending ending = victim.set("MEMTRACE_SAMPLE", sample).run();
  CAPTURE(ending.err);
  CHECK(ending.signal == 0);
  CHECK(ending.exit_code == 0);
  if (sample == "all") check_exact(ending, 1);
}

}  // namespace
}  // namespace memtrace::test
