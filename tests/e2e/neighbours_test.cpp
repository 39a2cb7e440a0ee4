// What would break: a program that needs another preloaded library, too: it would crash, deadlock or lose
// what that library does for it.
#include <signal.h>

#include <chrono>
#include <filesystem>

#include "tests/support/catch.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

namespace fs = std::filesystem;

struct Neighbour {
  const char* path;
  bool owns_heap = false;  // then it must come after
};
constexpr Neighbour kNeighbours[] = {
    {"/usr/libexec/coreutils/libstdbuf.so"},
    {"/usr/lib/x86_64-linux-gnu/libeatmydata.so"},
    {"/usr/lib/x86_64-linux-gnu/libfakeroot/libfakeroot-sysv.so"},
    {"/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"},
    {"/usr/lib/x86_64-linux-gnu/libjemalloc.so.2", true},
    {"/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4", true},
};

// What the program does, and whether its snapshot holds its blocks.
struct Seen {
  std::string out;
  int exit_code = -1;
  std::size_t blocks = 0;
  std::int64_t realtime_ns = 0;
};

Seen run(const std::string& preload, bool snapshot) {
  Preloaded victim("steady_host");
  victim.exact().set("LD_PRELOAD", preload).set("FAKETIME", "-15d").set("_STDBUF_O", "L").start();
  Seen seen;
  seen.out = victim.read_line();
  if (snapshot) {
    victim.kill(SIGUSR2);
    victim.wait_for_snapshots(1);
  }
  victim.tell("");
  const Ending ending = victim.finish();
  seen.out += "\n" + ending.out + ending.err;
  seen.exit_code = ending.exit_code;
  if (!snapshot) return seen;
  const Snapshot taken = victim.snapshot(0);
  seen.realtime_ns = taken.realtime_ns;
  for (const Record& record : taken.records) seen.blocks += record.size_bytes == 777;
  return seen;
}

TEST_CASE("other preloaded libraries keep working, before and after the shim, and so do snapshots") {
  for (const Neighbour& neighbour : kNeighbours) {
    if (!fs::exists(neighbour.path)) continue;
    CAPTURE(neighbour.path);
    const std::string path = neighbour.path;
    const Seen alone = run(path, false);
    const Seen before = run(shim_path().string() + ":" + path, true);
    CHECK(before.out == alone.out);
    CHECK(before.exit_code == alone.exit_code);
    CHECK(before.blocks == 100);
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    CHECK(std::chrono::abs(now - std::chrono::nanoseconds(before.realtime_ns)) < std::chrono::hours(1));
    if (neighbour.owns_heap) continue;
    const Seen after = run(path + ":" + shim_path().string(), true);
    CHECK(after.out == alone.out);
    CHECK(after.exit_code == alone.exit_code);
    CHECK(after.blocks == 100);
  }
}

}  // namespace
}  // namespace memtrace::test
