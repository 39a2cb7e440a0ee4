// What would break: a process that is not ready would be signalled and die of it; a caller would wait for
// ever, or get the path of a file that was there before. The target here only plays the shim: a mapping of
// its name, a handler.
#include "analyzer/remote_snapshot.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <sstream>

#include "tests/support/catch.hpp"
#include "tests/support/temp_dir.hpp"

namespace memtrace {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

char g_snapshot_name[256];

void answer(int) {
  char label[64] = {};
  char label_name[64];
  const int length = snprintf(label_name, sizeof(label_name), ".memtrace-label.%d", getpid());
  char name[sizeof(g_snapshot_name) + sizeof(label) + 16];
  if (const int fd = open(label_name, O_RDONLY); length > 0 && fd >= 0) {
    if (read(fd, label, sizeof(label) - 1) > 0) unlink(label_name);
    close(fd);
  }
  snprintf(name, sizeof(name), "%s%s%s.snap", g_snapshot_name, label[0] != '\0' ? "." : "", label);
  close(open(name, O_WRONLY | O_CREAT | O_EXCL, 0600));
}

void do_nothing(int) {}

// A child that prepares itself in `directory`, then waits to be killed.
class FakeTarget {
 public:
  FakeTarget(const fs::path& directory, const std::function<void()>& prepare) {
    int ready[2];
    REQUIRE(pipe(ready) == 0);
    pid_ = fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      const bool there = chdir(directory.c_str()) == 0;
      snprintf(g_snapshot_name, sizeof(g_snapshot_name), "target.%d.9f31c07a.0002", getpid());
      prepare();
      if (!there || write(ready[1], "r", 1) != 1) _exit(1);
      while (true) pause();
    }
    char byte = 0;
    const bool prepared = read(ready[0], &byte, 1) == 1;
    close(ready[0]);
    close(ready[1]);
    REQUIRE(prepared);
  }
  ~FakeTarget() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  FakeTarget(const FakeTarget&) = delete;
  FakeTarget& operator=(const FakeTarget&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] bool alive() const { return waitpid(pid_, nullptr, WNOHANG) == 0; }

 private:
  pid_t pid_ = -1;
};

void map_shim() {
  std::ofstream("libmemtrace.so") << "not really";
  const int fd = open("libmemtrace.so", O_RDONLY);
  if (mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED) _exit(1);
  close(fd);
}

std::string refusal(pid_t pid) {
  const auto taken = take_remote_snapshot({pid, "", 200ms});
  const auto* failure = std::get_if<SnapshotFailure>(&taken);
  if (failure == nullptr || failure->kind != SnapshotFailure::Kind::kRefused) return "not refused";
  return failure->reason;
}

TEST_CASE("processes that are not ready are refused and live") {
  const test::TempDir dir;
  SECTION("without the shim") {
    const FakeTarget target(dir.path(), [] { signal(SIGUSR2, do_nothing); });
    CHECK_THAT(refusal(target.pid()), Catch::Contains("not loaded"));
    CHECK(target.alive());
  }
  SECTION("with the shim, without a handler") {
    const FakeTarget target(dir.path(), [] { map_shim(); });
    CHECK_THAT(refusal(target.pid()), Catch::Contains("would be killed"));
    CHECK(target.alive());
  }
  SECTION("ignoring the signal") {
    const FakeTarget target(dir.path(), [] {
      map_shim();
      signal(SIGUSR2, SIG_IGN);
    });
    CHECK_THAT(refusal(target.pid()), Catch::Contains("ignores"));
  }
  SECTION("blocking the signal") {
    const FakeTarget target(dir.path(), [] {
      map_shim();
      signal(SIGUSR2, do_nothing);
      sigset_t mask;
      sigemptyset(&mask);
      sigaddset(&mask, SIGUSR2);
      sigprocmask(SIG_BLOCK, &mask, nullptr);
    });
    CHECK_THAT(refusal(target.pid()), Catch::Contains("blocks"));
  }
}

TEST_CASE("processes that have ended are told apart") {
  const pid_t pid = fork();
  if (pid == 0) _exit(0);
  siginfo_t ended{};
  REQUIRE(waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOWAIT) == 0);
  CHECK_THAT(refusal(pid), Catch::Contains("zombie"));
  waitpid(pid, nullptr, 0);
  CHECK_THAT(refusal(pid), Catch::Contains("no process"));
}

TEST_CASE("the new snapshot is returned, not one that was there") {
  const test::TempDir dir;
  const FakeTarget target(dir.path(), [] {
    map_shim();
    std::ofstream(fs::path("target." + std::to_string(getpid()) + ".9f31c07a.0001.snap"));
    signal(SIGUSR2, answer);
  });
  const auto taken = take_remote_snapshot({target.pid(), "", 10s});
  REQUIRE(std::holds_alternative<fs::path>(taken));
  std::ostringstream expected;
  expected << "target." << target.pid() << ".9f31c07a.0002.snap";
  CHECK(std::get<fs::path>(taken) == dir.path() / expected.str());
}

TEST_CASE("the label reaches the file's name and nothing else stays") {
  const test::TempDir dir;
  const FakeTarget target(dir.path(), [] {
    map_shim();
    signal(SIGUSR2, answer);
  });
  // What an earlier request left behind, even as a trap, is replaced.
  std::ostringstream label_name;
  label_name << ".memtrace-label." << target.pid();
  fs::create_symlink("/etc/passwd", dir.path() / label_name.str());
  const auto taken = take_remote_snapshot({target.pid(), "before.deploy", 10s});
  REQUIRE(std::holds_alternative<fs::path>(taken));
  CHECK_THAT(std::get<fs::path>(taken).string(), Catch::EndsWith(".0002.before.deploy.snap"));
  CHECK_FALSE(fs::exists(fs::symlink_status(dir.path() / label_name.str())));
}

TEST_CASE("a snapshot that does not come ends the wait") {
  const test::TempDir dir;
  const FakeTarget target(dir.path(), [] {
    map_shim();
    signal(SIGUSR2, do_nothing);
  });
  const auto taken = take_remote_snapshot({target.pid(), "label", 100ms});
  const auto* failure = std::get_if<SnapshotFailure>(&taken);
  REQUIRE(failure != nullptr);
  CHECK(failure->kind == SnapshotFailure::Kind::kTimedOut);
  CHECK_THAT(failure->reason, Catch::Contains(dir.path().string()) && Catch::Contains("MEMTRACE_LOG"));
  CHECK(target.alive());
  for (const auto& entry : fs::directory_iterator(dir.path()))
    CHECK_THAT(entry.path().filename().string(), !Catch::StartsWith(".memtrace-label"));
}

// The targets' environment names no shim, as after a program wrote its title over it.
TEST_CASE("where the environment does not tell, the caller does") {
  const test::TempDir dir;
  const test::TempDir elsewhere;
  const FakeTarget target(dir.path(), [&] {
    map_shim();
    snprintf(g_snapshot_name, sizeof(g_snapshot_name), "%s/target.%d.9f31c07a.0002", elsewhere.path().c_str(),
             getpid());
    signal(SIGRTMIN + 3, answer);
  });
  CHECK_THAT(refusal(target.pid()),
             Catch::Contains("overwrote its environment") && Catch::Contains("--signal"));
  const auto taken = take_remote_snapshot({target.pid(), "", 10s, {elsewhere.path(), SIGRTMIN + 3}});
  const auto* failure = std::get_if<SnapshotFailure>(&taken);
  if (failure != nullptr) FAIL(failure->reason);
  CHECK(std::get<fs::path>(taken).parent_path() == elsewhere.path());
}

TEST_CASE("a process that ends instead of answering ends the wait") {
  const test::TempDir dir;
  const FakeTarget target(dir.path(), [] {
    map_shim();
    signal(SIGUSR2, [](int) { _exit(0); });
  });
  const auto taken = take_remote_snapshot({target.pid(), "", 20s});
  const auto* failure = std::get_if<SnapshotFailure>(&taken);
  REQUIRE(failure != nullptr);
  CHECK_THAT(failure->reason, Catch::Contains("ended"));
}

}  // namespace
}  // namespace memtrace
