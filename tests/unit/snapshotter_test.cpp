// Would break: somebody else's file overwritten, half a snapshot under a final name, a profile that others
// can read, or content that is not what was recorded.
#include "preload/snapshotter.hpp"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "tests/support/captured_stderr.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/stages.hpp"
#include "tests/support/temp_dir.hpp"

using namespace memtrace;
using test::expect;
namespace fs = std::filesystem;

namespace {

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

std::string last_path() { return std::string(g_snapshotter.path().view()); }

// A child with every stage started, which writes into a directory of its own.
template <class F>
bool snapshotting(F body) {
  const test::TempDir directory;
  return test::in_child([&] {
           test::start_stages(test::exact_options(directory.path().native()));
           body(directory.path());
         })
      .fine();
}

}  // namespace

TEST_CASE("what was recorded is what is read back") {
  const test::TempDir directory;
  const std::string where = directory.path().native();
  CHECK(test::in_child([&] {
          Options options = test::exact_options(where);
          options.tags = "service=a,zone=b";
          test::start_stages(options);
          void* block = memtrace_hook_malloc(1234);
          void* freed = memtrace_hook_malloc(77);
          memtrace_hook_free(freed);
          const std::int64_t before = sys::clock_ns(CLOCK_MONOTONIC);
          const Snapshot snapshot = test::take_and_read(TriggerReason::kApi, "after-load");

          expect(snapshot.warnings.empty());
          expect(snapshot.pid == static_cast<std::uint64_t>(getpid()));
          expect(snapshot.ppid == static_cast<std::uint64_t>(getppid()));
          expect(snapshot.exe == fs::read_symlink("/proc/self/exe"));
          expect(snapshot.tags == std::vector<std::string>{"service=a", "zone=b"});
          expect(snapshot.rss_bytes > 100'000);
          expect(snapshot.reason == TriggerReason::kApi);
          expect(snapshot.label == "after-load");
          expect(snapshot.sequence == 1);
          expect(snapshot.monotonic_ns >= before);
          expect(snapshot.monotonic_ns <= sys::clock_ns(CLOCK_MONOTONIC));
          expect(snapshot.start_monotonic_ns <= before);
          expect(snapshot.mode == SamplingMode::kAll);
          expect(snapshot.fixed_seed);
          expect(snapshot.max_frames == 64);
          expect(snapshot.unwinder == "cfi");

          expect(snapshot.records.size() == 1);
          const Record& record = test::record_at(snapshot, block);
          expect(record.size_bytes == 1234);
          expect(record.sample_number == 0);
          expect(record.thread == 1);
          expect(record.birth_ns <= before && record.birth_ns >= snapshot.start_monotonic_ns);
          expect(snapshot.threads.at(1).tid == static_cast<std::uint64_t>(sys::tid()));
          expect(snapshot.threads.at(1).name == "snapshotter_tes");

          const Stack& stack = snapshot.stacks.at(record.stack);
          expect(stack.live_count == 1);
          expect(stack.live_bytes == 1234);
          const Location& innermost = snapshot.locations.at(snapshot.frames.at(stack.first_frame));
          expect(innermost.module != kNoModule);
          expect(snapshot.modules.at(innermost.module).path == snapshot.exe);
          expect(snapshot.modules.front().path == snapshot.exe);

          expect(snapshot.self.at("samples") == 2);
          expect(snapshot.self.at("samples_freed") == 1);
          expect(snapshot.self.at("snapshots_written") == 0);
          std::uint64_t lost = 0;
          for (const auto& [name, value] : snapshot.self) lost += name.starts_with("lost_") ? value : 0;
          expect(lost == 0);

          struct stat status {};
          expect(stat(last_path().c_str(), &status) == 0);
          expect((status.st_mode & 07777) == 0600);
          expect(names_in(where).size() == 1);
        }).fine());
}

TEST_CASE("numbers go up, and one session stays one") {
  CHECK(snapshotting([](const fs::path& directory) {
    const Snapshot first = test::take_and_read();
    const std::string first_path = last_path();
    const Snapshot second = test::take_and_read(TriggerReason::kExit);
    expect(first_path != last_path());
    expect(second.sequence == 2);
    expect(second.reason == TriggerReason::kExit);
    expect(second.session == first.session);
    expect(second.self.at("snapshots_written") == 1);
    expect(names_in(directory).size() == 2);
  }));
}

TEST_CASE("a missing directory is made, for its owner only, by however many processes") {
  for (int round = 0; round < 20; ++round) {
    const test::TempDir parent;
    const fs::path directory = parent.path() / "snapshots";
    CHECK(test::in_child([&] {
            test::start_stages(test::exact_options(directory.native()));
            int start[2];
            expect(pipe(start) == 0);
            std::vector<pid_t> children;
            for (int i = 0; i < 8; ++i) {
              const pid_t child = fork();
              if (child == 0) {
                char go;
                close(start[1]);
                (void)!read(start[0], &go, 1);
                (void)tracker::adopt_fork();
                _exit(g_snapshotter.take({TriggerReason::kApi, {}}) == 0 ? 0 : 1);
              }
              children.push_back(child);
            }
            close(start[1]);  // all at once
            int failed = 0;
            for (const pid_t child : children) {
              int status = -1;
              waitpid(child, &status, 0);
              failed += status != 0;
            }
            expect(failed == 0);
            expect(names_in(directory).size() == 8);
            expect((fs::status(directory).permissions() & fs::perms::mask) == fs::perms::owner_all);
          }).fine());
  }
}

TEST_CASE("a directory that cannot be had refuses the snapshot, with a reason") {
  const test::TempDir parent;
  std::ofstream(parent.path() / "file") << "not a directory";
  const auto refused = [&](const fs::path& directory, int error, const std::string& reason) {
    return test::in_child([&] {
             test::CapturedStderr captured;
             test::start_stages(test::exact_options(directory.native()));
             expect(g_snapshotter.take({TriggerReason::kApi, {}}) == error);
             expect(captured.text() == "memtrace: snapshot refused: directory " + directory.native() + ": " +
                                           reason +
                                           "; set MEMTRACE_DIR to a directory that can be written\n");
             expect(g_counters.snapshots_failed == 1);
           })
        .fine();
  };
  CHECK(refused(parent.path() / "no" / "parent", ENOENT, "No such file or directory"));
  CHECK(refused(parent.path() / "file", ENOTDIR, "Not a directory"));
  if (geteuid() != 0) return;  // the rest gives up root in the child
  fs::permissions(parent.path(), fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_exec);
  CHECK(test::in_child([&] {
          expect(setuid(65534) == 0);
          expect(refused(parent.path(), EACCES, "Permission denied"));
          expect(refused(parent.path() / "new", EACCES, "Permission denied"));
        }).fine());
}

TEST_CASE("a name that is taken is never replaced: not a file, not a link, not a FIFO") {
  CHECK(snapshotting([](const fs::path& directory) {
    (void)test::take_and_read();
    const std::string path = last_path();  // name.pid.session.0001.snap
    const auto numbered = [&](int n) {
      return path.substr(0, path.size() - 9) + "000" + std::to_string(n) + ".snap";
    };
    expect(numbered(1) == path);
    std::ofstream(numbered(2)) << "mine";
    std::ofstream(directory / "victim") << "precious";
    fs::create_symlink(directory / "victim", numbered(3));
    fs::create_symlink(directory / "nowhere", numbered(4));
    expect(mkfifo(numbered(5).c_str(), 0600) == 0);
    fs::create_directory(numbered(6));

    (void)test::take_and_read();
    expect(last_path() == numbered(7));
    std::string text;
    std::ifstream(numbered(2)) >> text;
    expect(text == "mine");
    std::ifstream(directory / "victim") >> text;
    expect(text == "precious");
    expect(fs::is_symlink(numbered(4)) && !fs::exists(directory / "nowhere"));
    expect(fs::is_fifo(numbered(5)));
    expect(names_in(directory).size() == 8);
  }));
}

TEST_CASE("a link planted at the temporary name is not followed") {
  CHECK(snapshotting([](const fs::path& directory) {
    const Snapshot first = test::take_and_read();
    // The name is guessable once a snapshot is known: its bytes are the session's.
    char hex[17];
    for (int i = 0; i < 8; ++i)
      (void)std::snprintf(hex + 2 * i, 3, "%02x", first.session.bytes[4 + static_cast<std::size_t>(i)]);
    const fs::path planted =
        directory / (".snapshotter_test." + std::to_string(getpid()) + "." + hex + ".tmp");
    std::ofstream(directory / "victim") << "precious";
    fs::create_symlink(directory / "victim", planted);
    (void)test::take_and_read();
    std::string text;
    std::ifstream(directory / "victim") >> text;
    expect(text == "precious");
    expect(!fs::exists(fs::symlink_status(planted)));  // it was the temporary's place, and is free again
  }));
}

TEST_CASE("a file that may not grow is reported, and nothing of it stays") {
  CHECK(snapshotting([](const fs::path& directory) {
    for (int i = 0; i < 3'000; ++i) (void)memtrace_hook_malloc(static_cast<std::size_t>(i));
    for (const rlim_t limit : {0UL, 1UL, 50UL, 4096UL}) {
      test::CapturedStderr captured;
      const rlimit small{limit, RLIM_INFINITY};
      std::signal(SIGXFSZ, SIG_IGN);  // in the shim every signal is blocked on the writing thread
      expect(setrlimit(RLIMIT_FSIZE, &small) == 0);
      expect(g_snapshotter.take({TriggerReason::kApi, {}}) == EFBIG);
      const rlimit all{RLIM_INFINITY, RLIM_INFINITY};
      expect(setrlimit(RLIMIT_FSIZE, &all) == 0);
      expect(names_in(directory).empty());
      expect(captured.text().find("File too large") != std::string::npos);
    }
    expect(g_counters.snapshots_failed == 4);
    const Snapshot later = test::take_and_read();
    expect(later.sequence == 1);
    expect(later.records.size() == 3'000);
    expect(names_in(directory).size() == 1);
  }));
}

TEST_CASE("a label left by memtrace snap is taken once, and only its good part") {
  CHECK(snapshotting([](const fs::path& directory) {
    const fs::path left = directory / (".memtrace-label." + std::to_string(getpid()));
    std::ofstream(left) << "after-load.1/../../etc";
    expect(test::take_and_read(TriggerReason::kSignal).label == "after-load.1");
    expect(!fs::exists(left));
    expect(test::take_and_read(TriggerReason::kSignal).label.empty());
    std::ofstream(left) << std::string(200, 'x');
    expect(test::take_and_read(TriggerReason::kSignal).label == std::string(64, 'x'));
    std::ofstream(directory / "secret") << "secret";
    fs::create_symlink(directory / "secret", left);
    expect(test::take_and_read(TriggerReason::kSignal).label.empty());
  }));
}

TEST_CASE("a directory that is not absolute is meant from where the program started") {
  const test::TempDir start;
  CHECK(test::in_child([&] {
          expect(chdir(start.path().c_str()) == 0);
          test::start_stages(test::exact_options("relative"));
          expect(chdir("/") == 0);
          (void)test::take_and_read();
          expect(names_in(start.path() / "relative").size() == 1);
        }).fine());
}

TEST_CASE("a forked child is a session of its own, with its own numbers") {
  CHECK(snapshotting([](const fs::path& directory) {
    void* block = memtrace_hook_malloc(10);
    const Snapshot parent = test::take_and_read();
    expect(test::in_child([&] {
             void* childs = memtrace_hook_malloc(20);  // the first cold path adopts
             const Snapshot child = test::take_and_read();
             expect(child.session != parent.session);
             expect(child.sequence == 1);
             expect(child.pid == static_cast<std::uint64_t>(getpid()));
             expect(child.ppid == parent.pid);
             expect(child.self.at("forks_seen") == 1);
             expect(child.start_monotonic_ns >= parent.start_monotonic_ns);
             // What the parent held at the fork lives in the child too, under its old number.
             expect(test::record_at(child, block) == test::record_at(parent, block));
             expect(test::record_at(child, childs).sample_number !=
                    test::record_at(child, block).sample_number);
             expect(child.threads.at(1).tid == static_cast<std::uint64_t>(getpid()));
           }).fine());
    const Snapshot later = test::take_and_read();
    expect(later.session == parent.session);
    expect(later.sequence == 2);
    expect(later.records.size() == 1);
    expect(names_in(directory).size() == 3);
  }));
}
