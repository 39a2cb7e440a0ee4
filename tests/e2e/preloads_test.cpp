// What would break: the shim would not live beside other preloaded libraries, nor they beside it: a loader
// that allocates while malloc is being looked for, a library that holds a lock while it allocates, one whose
// effect is lost, in either order.
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <regex>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/exact.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

namespace fs = std::filesystem;

std::string object(const std::string& name) { return program_path("objects/" + name + ".so"); }
std::string behind(const std::string& other) { return shim_path().string() + ":" + other; }
std::string before(const std::string& other) { return other + ":" + shim_path().string(); }

TEST_CASE("a dlsym that allocates gets memory, which is good until the program ends") {
  const std::string greedy = GENERATE("a-little", "all");
  const std::string sample = GENERATE("all", "1KiB", "off");
  CAPTURE(greedy, sample);
  Preloaded victim("dlerror_dlclose");
  victim.set("GREEDY", greedy).set("LD_PRELOAD", behind(object("greedy_dlsym")));
  if (sample == "off") {
    victim.set("MEMTRACE", "0");
  } else {
    victim.set("MEMTRACE_SAMPLE", sample);
  }
  check_silent(victim.run());
}

TEST_CASE("libc functions that lock and allocate are never called from within malloc") {
  const bool shim_first = GENERATE(true, false);
  const std::string sample = GENERATE("all", "1KiB");
  CAPTURE(shim_first, sample);
  Preloaded victim("dlerror_dlclose");
  const std::string other = object("locking_calls");
  victim.set("LD_PRELOAD", shim_first ? behind(other) : before(other)).set("MEMTRACE_SAMPLE", sample);
  check_silent(victim.set("MEMTRACE_AT_EXIT", "1").run());
  CHECK(victim.snapshot_files().size() == 1);
}

TEST_CASE("an auditor of the loader, with a libc of its own, changes nothing") {
  Preloaded victim("exact_heap", {"libc", "gigabytes"});
  check_exact(victim.exact().set("LD_AUDIT", object("auditor")).run(), 3);
}

TEST_CASE("glibc's checking malloc finds nothing wrong") {
  const fs::path checking = "/lib/x86_64-linux-gnu/libc_malloc_debug.so.0";
  if (!fs::exists(checking)) {
    WARN("SKIP: " << checking << " is part of libc6 from glibc 2.34 on");
    return;
  }
  Preloaded victim("dlerror_dlclose");
  victim.set("LD_PRELOAD", behind(object("greedy_dlsym") + ":" + checking.string()));
  check_silent(victim.exact().set("MALLOC_CHECK_", "3").run());
}

// A library of a Debian package, and a command that shows what it does.
struct Other {
  std::string name;
  fs::path library;
  std::string variable;
  std::string value;
  std::string command;
  bool owns_heap = false;  // then it must come after the shim
  // Of its own: libfaketime's are fewer where a process of the same number left files in /dev/shm.
  bool descriptors_vary = false;

  void preload_into(Preloaded& victim, const std::string& preload) const {
    victim.exact().set("LD_PRELOAD", preload);
    if (!variable.empty()) victim.set(variable, value);
  }
};

// The shell's, with a snapshot of it and of each program that it started.
Ending run_command(const Other& other, const std::string& preload) {
  Preloaded victim("/bin/sh", {"-c", other.command});
  other.preload_into(victim, preload);
  Ending ending = victim.set("MEMTRACE_AT_EXIT", "1").run();
  CHECK(victim.snapshot_files().empty() == (preload == other.library));
  return ending;
}

// A service's, with a snapshot in the midst of its work.
Ending run_service(const Other& other, const std::string& preload) {
  Preloaded victim("steady_host");
  other.preload_into(victim, preload);
  victim.start();
  const std::string first = victim.read_line();
  const bool traced = preload != other.library;
  if (traced) {
    victim.kill(SIGUSR2);
    victim.wait_for_snapshots(1);
  }
  victim.tell("");
  Ending ending = victim.finish();
  ending.out = first + "\n" + ending.out;
  if (other.descriptors_vary) ending.out = std::regex_replace(ending.out, std::regex("next fd [0-9]+"), "");
  if (!traced) return ending;
  const Snapshot taken = victim.snapshot(0);
  const auto held =
      std::ranges::count_if(taken.records, [](const Record& record) { return record.size_bytes == 777; });
  CHECK(held == 100);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  CHECK(std::chrono::abs(now - std::chrono::nanoseconds(taken.realtime_ns)) < std::chrono::hours(1));
  return ending;
}

TEST_CASE(
    "libraries that fake roots, files, buffers, clocks and heaps work as without the shim, in all orders") {
  const fs::path lib = "/usr/lib/x86_64-linux-gnu";
  const std::string sorted = "seq 1000 | sort -r | head -n 3";
  const Other other = GENERATE_COPY(values<Other>({
      {"libfakeroot", lib / "libfakeroot/libfakeroot-sysv.so", "FAKEROOTKEY", "", "stat -c %u . ; id -u"},
      {"libfakechroot", lib / "fakechroot/libfakechroot.so", "FAKECHROOT_BASE", "/",
       "ls -d /etc; stat -c %n /usr"},
      {"libeatmydata1", lib / "libeatmydata.so", "", "", "echo text > file; sync file; cat file"},
      {"libfaketime", lib / "faketime/libfaketime.so.1", "FAKETIME", "@2001-02-03 04:05:06",
       "date -u +%Y-%m-%d", false, true},
      {"coreutils", "/usr/libexec/coreutils/libstdbuf.so", "_STDBUF_O", "L", sorted},
      {"libjemalloc2", lib / "libjemalloc.so.2", "", "", sorted, true},
      {"libtcmalloc-minimal4", lib / "libtcmalloc_minimal.so.4", "", "", sorted, true},
  }));
  CAPTURE(other.name);
  if (!fs::exists(other.library)) {
    WARN("SKIP: the Debian package " << other.name << " is not installed");
    return;
  }
  const auto run = GENERATE(&run_command, &run_service);
  const Ending bare = run(other, other.library);
  REQUIRE(bare.signal == 0);
  std::vector<std::string> orders = {behind(other.library)};
  if (!other.owns_heap) orders.push_back(before(other.library));
  for (const std::string& preload : orders) {
    CAPTURE(preload);
    const Ending ending = run(other, preload);
    CHECK(ending.exit_code == bare.exit_code);
    CHECK(ending.out == bare.out);
    CHECK(ending.err == bare.err);
  }
}

}  // namespace
}  // namespace memtrace::test
