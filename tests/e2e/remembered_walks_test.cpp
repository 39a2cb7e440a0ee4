// What would break: a stack that is remembered and not the one that is there: growth would be shown at a line
// that never allocated. Here every remembered stack is walked again and compared, in programs that differ in
// how they call: interpreters, compilers, threads, exceptions, coroutines, signals.
#include <filesystem>

#include "tests/support/catch.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

TEST_CASE("no remembered walk is wrong") {
  struct Command {
    std::string program;
    std::vector<std::string> arguments;
    std::uint64_t at_least;  // remembered walks, so that the check checks something
  };
  const std::string json =
      "import json; d = [json.loads('{\"a\": [1, 2, {\"b\": \"' + str(i) + '\"}]}') "
      "for i in range(3000)]";
  const std::string unwinding = program_path("unwinding/").string();
  const auto command = GENERATE_COPY(
      Command{"/usr/bin/python3", {"-c", json}, 1000}, Command{"random_model", {"20000", "3"}, 100'000},
      Command{"exact_heap", {}, 100}, Command{"cxx_operators", {}, 10},
      Command{unwinding + "throws", {}, 100}, Command{unwinding + "coroutines", {}, 0},
      Command{unwinding + "signal_stacks", {}, 0}, Command{unwinding + "stack_shapes_O0", {}, 10},
      Command{unwinding + "stack_shapes_O3", {}, 10}, Command{unwinding + "stack_threads", {}, 1},
      Command{unwinding + "single_steps", {}, 0},
      Command{"/bin/bash", {"-c", "for i in 1 2 3 4 5 6 7 8 9; do a=$a$i; done; echo $(ls /)"}, 100});
  CAPTURE(command.program);
  Preloaded victim(command.program, command.arguments);
  victim.exact()
      .set("LD_PRELOAD", MEMTRACE_CHECKING_SHIM)
      .set("PYTHONMALLOC", "malloc")
      .set("MEMTRACE_AT_EXIT", "1");
  const Ending ending = victim.run();
  CAPTURE(ending.err);
  std::uint64_t checked = 0;
  std::uint64_t wrong = 0;
  REQUIRE(!victim.snapshot_files().empty());
  for (std::size_t i = 0; i < victim.snapshot_files().size(); ++i) {
    const Snapshot snapshot = victim.snapshot(i);
    checked += snapshot.self.at("checked_walks");
    wrong += snapshot.self.at("wrong_walks");
  }
  CHECK(wrong == 0);
  CHECK(checked >= command.at_least);
}

}  // namespace
}  // namespace memtrace::test
