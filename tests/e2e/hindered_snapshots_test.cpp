// What would break: a limit, a full disk, a lost directory or a sandbox would cost more than the snapshot:
// the program, the one before it, the one after it, or the user's knowledge that it failed.
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sstream>

#include "tests/support/catch.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

namespace fs = std::filesystem;

struct Obstacle {
  const char* name;
  int error;         // what the snapshot says meanwhile
  const char* said;  // in the one line on stderr
  enum class Needs { kNothing, kRoot, kOwnDisk } needs = Needs::kNothing;
};
using Needs = Obstacle::Needs;

constexpr Obstacle kObstacles[] = {
    {"none", 0, ""},
    {"file_size", EFBIG, "File too large"},
    {"open_files", EMFILE, "Too many open files"},
    {"address_space", ENOMEM, "Cannot allocate memory"},
    {"processes", EAGAIN, "its thread could not be started: Resource temporarily unavailable"},
    {"locked_memory", ENOMEM, "Cannot allocate memory"},
    {"unwritable", EACCES, "MEMTRACE_DIR"},
    {"dropped_privileges", EACCES, "MEMTRACE_DIR", Needs::kRoot},
    {"removed", 0, ""},  // and made again
    {"replaced_by_file", ENOTDIR, "MEMTRACE_DIR"},
    {"chroot", ENOENT, "MEMTRACE_DIR", Needs::kRoot},
    {"full_disk", ENOSPC, "No space left on device", Needs::kOwnDisk},
    {"read_only", EROFS, "Read-only file system", Needs::kOwnDisk},
    {"other_pids", EINVAL, "its next children are for another PID namespace", Needs::kRoot},
    {"no_threads", EPERM, "its thread could not be started: Operation not permitted"},
    {"allow_list", 0, ""},
};

// A file system of its own, in a mount namespace that only the victim is in.
bool mount_own_disk(const char* where) {
  const unsigned user = getuid();
  const bool root = user == 0;
  if (unshare(CLONE_NEWNS | (root ? 0 : CLONE_NEWUSER)) != 0) return false;
  if (!root) {
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << "0 " << user << " 1";
  }
  return mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         mount("none", where, "tmpfs", 0, "size=1m,mode=0700") == 0 && chdir(where) == 0;
}

std::string lines_of(const std::string& text, const std::string& start, bool wanted) {
  std::istringstream stream(text);
  std::string kept;
  for (std::string line; std::getline(stream, line);) {
    if ((line.rfind(start, 0) == 0) == wanted) kept += line + "\n";
  }
  return kept;
}

TEST_CASE("what hinders a snapshot costs that snapshot, one line and one count, and no more") {
  for (const Obstacle& obstacle : kObstacles) {
    CAPTURE(obstacle.name);
    if (obstacle.needs == Needs::kRoot && geteuid() != 0) continue;
    Preloaded bare("hindered", {"none"});
    Preloaded victim("hindered", {obstacle.name});
    const std::string where = victim.dir() / "snapshots";
    REQUIRE(mkdir(where.c_str(), 0755) == 0);
    REQUIRE(chmod(victim.dir().c_str(), 0777) == 0);
    victim.exact().set("MEMTRACE_DIR", where).in_child([&] {
      if (obstacle.needs == Needs::kOwnDisk && !mount_own_disk(where.c_str())) _exit(125);
      if (chdir(where.c_str()) != 0) _exit(126);
    });
    victim.start();
    std::string out;
    for (std::string line; line.rfind("after ", 0) != 0;) {
      try {
        line = victim.read_line();
      } catch (const std::exception&) {
        break;
      }
      out += line + "\n";
    }
    // As the victim sees the directory.
    std::vector<fs::path> files;
    const fs::path seen = fs::path("/proc") / std::to_string(victim.pid()) / "root" / where.substr(1);
    std::error_code gone;
    for (const auto& entry : fs::directory_iterator(seen, gone)) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    std::vector<Snapshot> snapshots;
    for (const auto& file : files) snapshots.push_back(read_or_fail(file));
    const Ending ending = victim.finish();
    if (obstacle.needs == Needs::kOwnDisk && ending.exit_code == 125) {
      WARN("no file system of its own to be had here");
      continue;
    }
    CAPTURE(ending.err, ending.signal, out);
    CHECK(ending.exit_code == 6);
    const std::string usual = bare.without_shim().run().out;
    CHECK(lines_of(out, "snapshot ", false) == lines_of(usual, "snapshot ", false));
    CHECK(lines_of(out, "snapshot ", true) ==
          "snapshot during " + std::to_string(obstacle.error) + "\nsnapshot after 0\n");

    const bool refused = obstacle.error != 0;
    CHECK(std::count(ending.err.begin(), ending.err.end(), '\n') == refused);
    CHECK(ending.err.find(obstacle.said) != std::string::npos);
    REQUIRE(snapshots.size() == (refused ? 1 : 2));
    CHECK(snapshots.back().label == "after");
    CHECK(snapshots.back().self.at("snapshots_failed") == refused);
    CHECK(sites_of(snapshots.back()).at("hold").count == 2000);
  }
}

TEST_CASE("a long path leaves room for what is wrong with it") {
  Preloaded victim("hindered", {"none"});
  std::string where = victim.dir();
  for (int i = 0; i < 15; ++i) where += "/" + std::string(200, 'x');
  const Ending ending = victim.set("MEMTRACE_DIR", where).run();
  CHECK(ending.exit_code == 6);
  CHECK(ending.err.find(where.substr(0, 250)) != std::string::npos);
  CHECK(ending.err.find("...: No such file or directory; set MEMTRACE_DIR to a directory") !=
        std::string::npos);
}

}  // namespace
}  // namespace memtrace::test
