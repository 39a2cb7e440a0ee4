// What would break: the shim would not live beside other preloaded libraries: a loader that allocates while
// malloc is being looked for, a library that holds a lock while it allocates, in either order.
#include <filesystem>

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

// A program's output beside a library of a Debian package, with the shim before it, behind it, and without.
TEST_CASE("libraries that fake roots, files and buffers work as without the shim, in both orders") {
  struct Other {
    std::string name;
    fs::path library;
    std::string variable;
    std::string value;
    std::string command;
  };
  const fs::path lib = "/usr/lib/x86_64-linux-gnu";
  const Other other = GENERATE_COPY(values<Other>({
      {"libfakeroot", lib / "libfakeroot/libfakeroot-sysv.so", "FAKEROOTKEY", "", "stat -c %u . ; id -u"},
      {"libfakechroot", lib / "fakechroot/libfakechroot.so", "FAKECHROOT_BASE", "/",
       "ls -d /etc; stat -c %n /usr"},
      {"libeatmydata1", lib / "libeatmydata.so", "", "", "echo text > file; sync file; cat file"},
      {"libfaketime", lib / "faketime/libfaketime.so.1", "FAKETIME", "@2001-02-03 04:05:06",
       "date -u +%Y-%m-%d"},
      {"coreutils", "/usr/libexec/coreutils/libstdbuf.so", "_STDBUF_O", "L",
       "seq 1000 | sort -r | head -n 3"},
  }));
  CAPTURE(other.name);
  if (!fs::exists(other.library)) {
    WARN("SKIP: the Debian package " << other.name << " is not installed");
    return;
  }
  const auto run = [&](const std::string& preload) {
    Preloaded victim("/bin/sh", {"-c", other.command});
    victim.exact().set("MEMTRACE_AT_EXIT", "1").set("LD_PRELOAD", preload);
    if (!other.variable.empty()) victim.set(other.variable, other.value);
    Ending ending = victim.run();
    // sh and each program that it started.
    CHECK(victim.snapshot_files().empty() == (preload == other.library));
    return ending;
  };
  const Ending bare = run(other.library);
  REQUIRE(bare.exit_code == 0);
  for (const std::string& preload : {behind(other.library), before(other.library)}) {
    CAPTURE(preload);
    const Ending ending = run(preload);
    CHECK(ending.exit_code == bare.exit_code);
    CHECK(ending.out == bare.out);
    CHECK(ending.err == bare.err);
  }
}

}  // namespace
}  // namespace memtrace::test
