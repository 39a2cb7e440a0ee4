// What would break: a program would hang or crash where a stack is hard to capture: the loader's lock is
// held, code comes and goes, a signal handler allocates in the midst of a capture, a stack or a frame pointer
// is none.
#include <sys/resource.h>

#include "tests/support/catch.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

TEST_CASE("captures in hard places end, and the program goes on as without the shim") {
  const char* which = GENERATE("churn", "generated", "asks_for_stack", "unreadable_callers",
                               "data_in_frame_pointer", "hole_below_stack");
  CAPTURE(which);
  const std::string plugin = program_path("libplugin_3.so");
  CHECK(Preloaded("capture_edges", {which, plugin}).without_shim().run().exit_code == 0);
  for (const char* sample : {"all", "64"}) {
    CAPTURE(sample);
    Preloaded victim("capture_edges", {which, plugin});
    const Ending ending = victim.set("MEMTRACE_SAMPLE", sample).set("MEMTRACE_AT_EXIT", "1").run();
    CAPTURE(ending.err);
    CHECK(ending.signal == 0);
    CHECK(ending.exit_code == 0);
    const Snapshot last = victim.snapshot(victim.snapshot_files().size() - 1);
    CHECK(last.self.at("samples") > 0);
    CHECK(last.self.at("lost_lock") == 0);
  }
}

TEST_CASE("a recursion of a million frames is captured to the limit, and its allocation succeeds") {
  const std::string flags = GENERATE("O0", "O3");
  Preloaded victim(program_path("unwinding/stack_shapes_" + flags), {"deep", "1000000"});
  victim.in_child([] {
    const rlimit large{std::size_t{4} << 30, RLIM_INFINITY};
    if (setrlimit(RLIMIT_STACK, &large) != 0) _exit(125);
  });
  CHECK(victim.exact().set("MEMTRACE_AT_EXIT", "1").run().exit_code == 0);
  const Snapshot snapshot = victim.snapshot(0);
  CHECK(snapshot.self.at("truncated_stacks") > 0);
  for (const Stack& stack : snapshot.stacks) CHECK(stack.frame_count <= snapshot.max_frames);
}

TEST_CASE("a handler that allocates wherever it interrupts is recorded, or counted as lost") {
  for (const char* sample : {"all", "1"}) {
    CAPTURE(sample);
    Preloaded victim("profiled");
    victim.set("LD_PRELOAD", shim_path().string() + ":" + MEMTRACE_SIGNAL_SAFE)
        .set("MEMTRACE_SAMPLE", sample);
    const Ending ending = victim.run();
    CAPTURE(ending.err);
    REQUIRE(ending.exit_code == 0);
    REQUIRE(ending.out.rfind("held ", 0) == 0);
    std::size_t after = 0;
    const std::int64_t in_loop = std::stoll(ending.out.substr(5), &after);
    const std::int64_t in_handler = std::stoll(ending.out.substr(5 + after));
    const Snapshot snapshot = victim.snapshot(0);
    Sites sites = sites_of(snapshot);
    std::uint64_t lost = 0;
    for (const char* counter : {"nested_calls", "lost_lock", "lost_capture_buffer"})
      lost += snapshot.self.at(counter);
    CAPTURE(lost, sites["in_loop"], sites["in_handler"]);
    CHECK(sites["in_loop"] == Held{in_loop * 64, in_loop});
    CHECK(sites["in_handler"].count <= in_handler);
    CHECK(sites["in_handler"].count + static_cast<std::int64_t>(lost) >= in_handler);
    CHECK(sites.size() == 2);
  }
}

}  // namespace
}  // namespace memtrace::test
