// What would break: a program of another libc, musl, would not start with the shim, or count twice what its
// calloc takes from malloc; its threads and forks would be mistaken.
#include "tests/support/catch.hpp"
#include "tests/support/exact.hpp"
#include "tests/support/preloaded.hpp"
#include "tests/support/run_program.hpp"
#include "tests/support/temp_dir.hpp"

namespace memtrace::test {
namespace {

struct Row {
  std::string program;
  std::vector<std::string> arguments;
  std::size_t reports;
};

TEST_CASE("programs of musl are exact") {
  if (run_program("musl-gcc --version 2>/dev/null").exit_code != 0) {
    WARN("SKIP: the Debian package musl-tools is not installed");
    return;
  }
  const Row row = GENERATE(values<Row>({{"vfork_signals", {"50"}, 1},
                                        {"atfork_handlers", {"20"}, 2},

                                        {"callocs", {}, 0},
                                        {"short_threads", {"2000"}, 0}}));
  CAPTURE(row.program);
  const TempDir made;
  const std::string program = made.path() / row.program;
  const std::string source = MEMTRACE_SOURCE_DIR;
  const ProgramResult compiled =
      run_program("musl-gcc -D_GNU_SOURCE -O1 -g -fno-builtin -w -I" + source + " -o " + program + " " +
                  source + "/tests/programs/victims/" + row.program + ".c 2>&1");
  CAPTURE(compiled.output);
  REQUIRE(compiled.exit_code == 0);
  Preloaded victim(program, row.arguments);
  const Ending ending = victim.exact().set("MEMTRACE_AT_EXIT", row.reports == 0 ? "1" : "0").run();
  check_exact(ending, row.reports);
  CHECK(ending.err.empty());
  if (row.program == "callocs") {
    CHECK(victim.snapshot(0).self.at("samples") < 310000);  // 100000 rounds of three allocations
  }
}

}  // namespace
}  // namespace memtrace::test
