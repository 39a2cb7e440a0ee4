// What would break: a C++ allocation would count twice (operator new and the malloc below it) or not at all;
// allocations before and after main would be lost; errno or the program's pointers would change.
#include <sys/personality.h>

#include "tests/support/catch.hpp"
#include "tests/support/exact.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

TEST_CASE("every replaceable operator new and delete counts once") {
  check_exact(Preloaded("cxx_operators").exact().run(), 2);
}

TEST_CASE("a program with its own operator new is counted by what that takes") {
  check_exact(Preloaded("cxx_own_new").exact().run(), 1);
}

TEST_CASE("allocations before main, after it and at the end of a thread are known") {
  Preloaded victim("early_and_late");
  const Ending ending = victim.exact().set("MEMTRACE_AT_EXIT", "1").run();
  REQUIRE(ending.exit_code == 0);
  const auto truth = reports_in(ending.out + "snapshot at-exit\n").at(0).truth;
  CHECK(truth.size() == 7);
  const Snapshot last = victim.snapshot(0);
  CHECK(last.reason == TriggerReason::kExit);
  CHECK(difference(sites_of(last), truth) == "");
}

TEST_CASE("errno and the program's pointers are what they are without the shim") {
  const auto at_fixed_addresses = [] { personality(ADDR_NO_RANDOMIZE); };
  Preloaded bare("keeps_errno");
  const Ending expected = bare.without_shim().in_child(at_fixed_addresses).run();
  REQUIRE(expected.exit_code == 0);
  for (const char* sample : {"all", "64", "512KiB"}) {
    CAPTURE(sample);
    Preloaded victim("keeps_errno");
    victim.set("MEMTRACE_SAMPLE", sample).in_child(at_fixed_addresses);
    const Ending ending = victim.run();
    CHECK(ending.exit_code == 0);
    CHECK(ending.out == expected.out);
    CHECK(ending.err.empty());
  }
  Preloaded unwinding("keeps_errno");
  const Ending ending = unwinding.set("MEMTRACE_SAMPLE", "64").set("MEMTRACE_UNWIND", "libunwind").run();
  CAPTURE(ending.err);
  CHECK(ending.exit_code == 0);
}

}  // namespace
}  // namespace memtrace::test
