// Would break: loading the shim. What it compiles of format/ may need nothing but mem* and zstd: no
// libstdc++, no exceptions, no RTTI, no other libc.
#include <set>
#include <sstream>

#include "tests/support/catch.hpp"
#include "tests/support/run_program.hpp"
#include "tests/support/temp_dir.hpp"

using namespace memtrace::test;

TEST_CASE("the writer needs only mem* and zstd at link time") {
  const TempDir directory;
  const std::string both = directory.path() / "both.o";
  for (const std::string source : {"snapshot_writer", "zstd_stream"}) {
    const auto compiled = run_program(
        MEMTRACE_CXX
        " -std=c++20 -O2 -fPIC -fno-exceptions -fno-rtti -fno-threadsafe-statics -I " MEMTRACE_SOURCE_DIR
        " -c " MEMTRACE_SOURCE_DIR "/format/" +
        source + ".cpp -o " + (directory.path() / (source + ".o")).string() + " 2>&1");
    INFO(compiled.output);
    REQUIRE(compiled.exit_code == 0);
  }
  const std::string objects =
      directory.path().string() + "/snapshot_writer.o " + directory.path().string() + "/zstd_stream.o";
  REQUIRE(run_program("ld -r -o " + both + " " + objects + " 2>&1").exit_code == 0);
  const auto symbols = run_program("nm -u " + both);
  REQUIRE(symbols.exit_code == 0);
  static const std::set<std::string> kAllowed = {"memcpy", "memset", "memcmp", "memmove",
                                                 "_GLOBAL_OFFSET_TABLE_"};
  std::istringstream lines(symbols.output);
  std::string kind;
  std::string name;
  std::size_t zstd = 0;
  while (lines >> kind >> name) {
    INFO(name);
    const bool is_zstd = name.starts_with("ZSTD_");
    if (is_zstd) ++zstd;
    CHECK((is_zstd || kAllowed.contains(name)));
  }
  CHECK(zstd > 0);
}
