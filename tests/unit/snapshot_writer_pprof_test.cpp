// Would break: opening a snapshot with `zstd -dc x.snap > x.pb && go tool pprof -top x.pb`, as FORMAT.md
// promises.
#include <fstream>

#include "tests/support/catch.hpp"
#include "tests/support/run_program.hpp"
#include "tests/support/snapshot_builder.hpp"
#include "tests/support/temp_dir.hpp"

using namespace memtrace;
using namespace memtrace::test;

TEST_CASE("go tool pprof shows the live bytes of a snapshot") {
  const TempDir directory;
  SnapshotBuilder builder;
  const auto exe = builder.add_module({.start = 0x400000, .end = 0x500000, .path = "/no/such/payments"});
  const auto leak = builder.add_location(0x400123, exe);
  const auto cache = builder.add_location(0x400456, exe);
  const auto root = builder.add_location(0x400789, exe);
  builder.add_live(builder.add_stack({leak, root}), 3 * 1024, 1024);
  builder.add_live(builder.add_stack({cache, root}), 1024, 1024);
  builder.write(directory.path() / "a.snap");
  const std::string message = directory.path() / "a.pb";
  REQUIRE(run_program("zstd -dcq " + (directory.path() / "a.snap").string() + " >" + message).exit_code == 0);

  const auto result = run_program("HOME=" + directory.path().string() +
                                  " go tool pprof -symbolize=none -addresses -top " + message + " 2>&1");
  INFO(result.output);
  REQUIRE(result.exit_code == 0);
  CHECK(result.output.find("Type: inuse_space\n") != std::string::npos);
  CHECK(result.output.find("of 4MB total") != std::string::npos);
  CHECK(result.output.find("3MB 75.00% 75.00%        3MB 75.00%") != std::string::npos);

  const auto counts =
      run_program("HOME=" + directory.path().string() +
                  " go tool pprof -symbolize=none -sample_index=inuse_objects -top " + message + " 2>&1");
  INFO(counts.output);
  REQUIRE(counts.exit_code == 0);
  CHECK(counts.output.find("of 4096 total") != std::string::npos);
}
