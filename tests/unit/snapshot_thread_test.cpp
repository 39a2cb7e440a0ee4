// Would break: requests for snapshots that are lost, answered twice or wait for ever, in a child above all.
//
// The thread is a raw clone that no sanitizer's runtime knows: those builds leave this file empty.
#include "preload/snapshot_thread.hpp"

#include <sched.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "tests/support/captured_stderr.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/reach.hpp"
#include "tests/support/stages.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/threads.hpp"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

using namespace memtrace;
using test::expect;

namespace {

constexpr SnapshotRequest kByApi{TriggerReason::kApi, {}};

std::size_t snapshots_in(const std::filesystem::path& directory) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    expect(read_snapshot_file(entry.path()).ok());
    ++count;
  }
  return count;
}

template <class F>
bool with_thread(F body) {
  const test::TempDir directory;
  return test::in_child([&] {
           test::start_stages(test::exact_options(directory.path().native()));
           expect(g_snapshot_thread.start());
           alarm(60);  // a wait for ever ends the child
           body(directory.path());
         })
      .fine();
}

std::size_t threads_of_process() {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) count += entry.exists();
  return count;
}

// The kernel says that a thread has left its memory a moment before it takes it off the list; the alarm
// bounds this.
void expect_one_thread() {
  while (threads_of_process() != 1) sched_yield();
}

struct StateWord;
struct KernelId;

}  // namespace

template struct memtrace::test::Reach<StateWord, &SnapshotThread::state_>;
template struct memtrace::test::Reach<KernelId, &SnapshotThread::thread_>;

TEST_CASE("before start every request is refused") {
  SnapshotThread thread;
  Path path;
  test::CapturedStderr err;
  thread.post(kByApi);
  CHECK(err.text() ==
        "memtrace: snapshot refused: its thread could not be started: Cannot allocate memory\n");
  CHECK(thread.take_and_wait(kByApi, path) == ENOMEM);
}

TEST_CASE("a snapshot that was waited for is there, and its thread is not") {
  CHECK(with_thread([](const std::filesystem::path& directory) {
    for (int i = 1; i <= 20; ++i) {
      Path path;
      expect(g_snapshot_thread.take_and_wait(kByApi, path) == 0);
      expect(std::filesystem::exists(path.view()));
      expect_one_thread();
    }
    expect(snapshots_in(directory) == 20);
  }));
}

TEST_CASE("an error comes back to who waits") {
  CHECK(with_thread([](const std::filesystem::path& directory) {
    std::filesystem::remove(directory);
    std::filesystem::create_symlink("nowhere/at/all", directory);
    Path path;
    expect(g_snapshot_thread.take_and_wait(kByApi, path) != 0);
    std::filesystem::remove(directory);
  }));
}

TEST_CASE("eight threads that each want a snapshot get each their own") {
  CHECK(with_thread([](const std::filesystem::path& directory) {
    test::run_threads(8, [](unsigned) {
      for (int i = 0; i < 10; ++i) {
        Path path;
        expect(g_snapshot_thread.take_and_wait(kByApi, path) == 0);
      }
    });
    expect(snapshots_in(directory) == 80);
    expect_one_thread();
  }));
}

TEST_CASE("requests in a storm fall together, and the last one is answered") {
  CHECK(with_thread([](const std::filesystem::path& directory) {
    test::run_threads(4, [](unsigned) {
      for (int i = 0; i < 500; ++i) g_snapshot_thread.post(kByApi);
    });
    void* last = memtrace_hook_malloc(4711);
    g_snapshot_thread.post(kByApi);
    Path path;
    expect(g_snapshot_thread.take_and_wait(kByApi, path) == 0);  // behind all of them
    bool seen = false;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
      if (entry.path().native() == path.view()) continue;
      seen = seen || test::has_record(read_snapshot_file(entry.path()).value(), last);
    }
    expect(seen);
    expect(snapshots_in(directory) < 2'000);
    expect(g_counters.snapshots_failed == 0);
  }));
}

TEST_CASE("who waits for a snapshot is not kept waiting by requests that never end") {
  CHECK(with_thread([](const std::filesystem::path&) {
    std::atomic<bool> stop{false};
    test::run_threads(3, [&](unsigned thread) {
      if (thread > 0) {
        while (!stop) g_snapshot_thread.post(kByApi);
        return;
      }
      for (int i = 0; i < 10; ++i) {
        Path path;
        expect(g_snapshot_thread.take_and_wait(kByApi, path) == 0);
        expect(std::filesystem::exists(path.view()));
      }
      stop = true;
    });
    expect(g_counters.snapshots_written < 100);  // those between two of the ten are few
    Path path;
    expect(g_snapshot_thread.take_and_wait(kByApi, path) == 0);  // behind all of them
    expect_one_thread();
  }));
}

TEST_CASE("a child forked while its parent's thread was at work takes its own snapshots") {
  CHECK(with_thread([](const std::filesystem::path& directory) {
    // As at the fork: a thread was writing, and another request waited. In the child there is no such thread.
    for (const std::uint32_t state : {1U, 2U}) {
      reach(test::Member<StateWord>{}, g_snapshot_thread).store(state);
      reach(test::Member<KernelId>{}, g_snapshot_thread).store(0x3fffffff);
      expect(test::in_child([&] {
               alarm(20);
               expect(tracker::adopt_fork());
               Path path;
               g_snapshot_thread.post(kByApi);
               expect(g_snapshot_thread.take_and_wait(kByApi, path) == 0);
               expect(std::filesystem::exists(path.view()));
             }).fine());
    }
    expect(snapshots_in(directory) == 4);
  }));
}

TEST_CASE("forks while snapshots are written: no child hangs") {
  CHECK(with_thread([](const std::filesystem::path&) {
    for (int i = 0; i < 2'000; ++i) (void)memtrace_hook_malloc(10);
    for (int i = 0; i < 30; ++i) {
      g_snapshot_thread.post(kByApi);
      expect(test::in_child([] {
               alarm(20);
               memtrace_hook_free(memtrace_hook_malloc(10));
               Path path;
               expect(g_snapshot_thread.take_and_wait(kByApi, path) == 0);
               expect(read_snapshot_file(std::string(path.view())).ok());
             }).fine());
    }
    expect(g_counters.snapshots_failed == 0);
  }));
}

#endif
