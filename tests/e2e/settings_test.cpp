// What would break: a setting would do nothing, a wrong one would go unnoticed or change what the program
// does, and a directory that cannot be written would take the program down.
#include <grp.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "tests/support/catch.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST_CASE(
    "a wrong value is one line that names variable, value and what was expected, and the program runs") {
  struct Wrong {
    const char* name;
    const char* value;
    const char* expected;
  };
  constexpr Wrong kWrong[] = {
      {"MEMTRACE", "yes", "0, 1"},
      {"MEMTRACE_SAMPLE", "512KB", "512KiB"},
      {"MEMTRACE_SAMPLE", "0", "all"},
      {"MEMTRACE_SAMPLE", "-1", "all"},
      {"MEMTRACE_SAMPLE", "99999999999999999999", "all"},
      {"MEMTRACE_SIGNAL", "SIGKILL", "SIGRTMIN+N"},
      {"MEMTRACE_SIGNAL", "SIGRTMIN+99", "SIGRTMIN+N"},
      {"MEMTRACE_AT_EXIT", "on", "0 or 1"},
      {"MEMTRACE_FRAMES", "0", "256"},
      {"MEMTRACE_FRAMES", "257", "256"},
      {"MEMTRACE_UNWIND", "best", "boost"},
      {"MEMTRACE_MMAP", "2", "0 or 1"},
      {"MEMTRACE_CHILDREN", "none", "0 or 1"},
      {"MEMTRACE_LOG", "loud", "info"},
      {"MEMTRACE_TAGS", "nonsense", "k=v"},
  };
  Preloaded bare("call_chain");
  const Ending usual = bare.without_shim().run();
  for (const Wrong& wrong : kWrong) {
    CAPTURE(wrong.name, wrong.value);
    Preloaded victim("call_chain");
    const Ending ending = victim.set(wrong.name, wrong.value).run();
    CHECK(ending.exit_code == usual.exit_code);
    CHECK(ending.out.substr(0, 100) == usual.out.substr(0, 100));
    CHECK(victim.snapshot_files().size() == 1);  // traced all the same, by the default
    const auto lines = lines_of(ending.err);
    CAPTURE(ending.err);
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].rfind("memtrace: ", 0) == 0);
    CHECK(lines[0].find(std::string(wrong.name) + "=" + wrong.value) != std::string::npos);
    CHECK(lines[0].find(wrong.expected) != std::string::npos);
  }
}

TEST_CASE("an unknown setting is one line with the nearest name") {
  Preloaded victim("call_chain");
  const Ending ending = victim.set("MEMTRACE_SAMPEL", "all").run();
  CHECK(ending.exit_code == 0);
  CHECK(lines_of(ending.err).size() == 1);
  CHECK(ending.err.find("MEMTRACE_SAMPEL ") != std::string::npos);
  CHECK(ending.err.find("MEMTRACE_SAMPLE") != std::string::npos);
}

TEST_CASE("MEMTRACE=0 does nothing at all") {
  Preloaded victim("call_chain");
  const Ending ending =
      victim.set("MEMTRACE", "0").set("MEMTRACE_AT_EXIT", "1").set("MEMTRACE_NO", "1").run();
  CHECK(ending.exit_code == 0);
  CHECK(ending.out.find("snapshot failed: 38") != std::string::npos);
  CHECK(ending.err.empty());
  CHECK(victim.snapshot_files().empty());
}

TEST_CASE("MEMTRACE_ONLY traces what its patterns name") {
  const auto traced = [](const std::string& patterns) {
    Preloaded victim("call_chain");
    CHECK(victim.set("MEMTRACE_ONLY", patterns).run().exit_code == 0);
    return victim.snapshot_files().size() == 1;
  };
  CHECK(traced("call_chain"));
  CHECK(traced("redis-*,call_*"));
  CHECK(traced("c*n"));
  CHECK(traced("call?chain"));
  CHECK_FALSE(traced("call"));
  CHECK_FALSE(traced("*call_chain_fp,nginx"));
}

TEST_CASE("tags, interval and limits are in the snapshot, and MEMTRACE_LOG=info tells of it") {
  Preloaded victim("call_chain");
  victim.set("MEMTRACE_TAGS", "pod=web-7,version=1.2").set("MEMTRACE_SAMPLE", "1MiB");
  const Ending ending = victim.set("MEMTRACE_FRAMES", "17").set("MEMTRACE_LOG", "info").run();
  CHECK(ending.exit_code == 0);
  const Snapshot snapshot = victim.snapshot(0);
  CHECK(snapshot.tags == std::vector<std::string>{"pod=web-7", "version=1.2"});
  CHECK(snapshot.interval_bytes == 1 << 20);
  CHECK(snapshot.mode == SamplingMode::kPoissonBytes);
  CHECK(snapshot.max_frames == 17);
  CHECK(snapshot.reason == TriggerReason::kApi);
  CHECK_FALSE(snapshot.fixed_seed);
  CHECK(lines_of(ending.err) ==
        std::vector<std::string>{"memtrace: snapshot " + victim.snapshot_files().at(0).string()});
}

TEST_CASE("MEMTRACE_AT_EXIT=1 leaves one snapshot at exit, not at death") {
  Preloaded victim("/bin/bash", {"-c", "exit 3"});
  CHECK(victim.set("MEMTRACE_AT_EXIT", "1").run().exit_code == 3);
  CHECK(victim.snapshot_files().size() == 1);
  CHECK(victim.snapshot(0).reason == TriggerReason::kExit);
  Preloaded killed("/bin/bash", {"-c", "kill -9 $$"});
  CHECK(killed.set("MEMTRACE_AT_EXIT", "1").run().signal == SIGKILL);
  CHECK(killed.snapshot_files().empty());
}

TEST_CASE("a directory that cannot be had costs the snapshot and one line, never the program") {
  const std::string where = GENERATE("missing/parent", "a-file", "read-only");
  CAPTURE(where);
  Preloaded victim("api_user");
  std::ofstream(victim.dir() / "a-file") << "not a directory";
  victim.set("MEMTRACE_DIR", where == "read-only" ? "/proc/self" : where);
  const Ending ending = victim.run();
  CHECK(ending.exit_code == 0);
  CHECK(ending.out.find("snapshot 0 ") == std::string::npos);
  const auto lines = lines_of(ending.err);
  REQUIRE(!lines.empty());
  CHECK(lines[0].find("MEMTRACE_DIR") != std::string::npos);
  CHECK(lines[0].find(where == "read-only" ? "/proc/self" : where) != std::string::npos);
  CHECK(victim.snapshot_files().empty());
}

TEST_CASE("a directory whose parent exists is made, for its owner alone") {
  Preloaded victim("api_user");
  CHECK(victim.set("MEMTRACE_DIR", (victim.dir() / "made").string()).run().exit_code == 0);
  struct stat status {};
  REQUIRE(stat((victim.dir() / "made").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0700);
}

TEST_CASE("a program that gains privileges is left alone") {
  if (getuid() != 0) {
    WARN("needs root");
    return;
  }
  // Linked to the shim, because the loader preloads nothing from such a directory into such a program.
  const TempDir dir;
  REQUIRE(chmod(dir.path().c_str(), 0755) == 0);
  const fs::path copy = dir.path() / "privileged";
  fs::copy_file(program_path("linked_to_shim"), copy);
  const auto nobody = [] {
    if (setgroups(0, nullptr) != 0 || setgid(65534) != 0 || setuid(65534) != 0) _exit(125);
  };
  for (const mode_t mode : {0755u, 04755u}) {
    CAPTURE(mode);
    REQUIRE(chmod(copy.c_str(), mode) == 0);
    Preloaded victim(copy.string());
    REQUIRE(chmod(victim.dir().c_str(), 0777) == 0);
    victim.without_shim().set("MEMTRACE_LOG", "info").in_child(nobody);
    const Ending ending = victim.run();
    CAPTURE(ending.err);
    const bool privileged = mode == 04755;
    if (ending.exit_code == 127 || (privileged && ending.out == "secure 0\n")) {
      WARN("not everyone may run what was built, or not with privileges");
      return;
    }
    CHECK(ending.exit_code == 0);
    CHECK(ending.out == (privileged ? "secure 1\n" : "secure 0\n"));
    CHECK(victim.snapshot_files().size() == (privileged ? 0 : 1));
    CHECK(ending.err.empty() == privileged);
  }
}

}  // namespace
}  // namespace memtrace::test
