// What would break: taking snapshots would cost the program more than time: a call that fails, a signal that
// goes astray, a stack that overflows, a death at a limit.
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <sstream>
#include <thread>

#include "tests/support/catch.hpp"
#include "tests/support/filter.h"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

TEST_CASE("snapshots cut no wait short, steal no signal and break at no limit") {
  const char* which = GENERATE("waiting", "signal_descriptor", "file_limits");
  CAPTURE(which);
  Preloaded victim("snapshot_edges", {which});
  const Ending ending = victim.exact().run();
  CAPTURE(ending.err);
  CHECK(ending.signal == 0);
  CHECK(ending.exit_code == 0);
  CHECK(victim.snapshot_files().size() >= 3);
}

TEST_CASE("the trigger's handler fits on the smallest alternate stack") {
  Preloaded victim("snapshot_edges", {"smallest_stack"});
  const Ending ending = victim.run();
  REQUIRE(ending.exit_code == 0);
  std::istringstream words(ending.out);
  std::string word;
  std::size_t frame = 0;
  std::size_t ours = 0;
  words >> word >> frame >> word >> ours;
  CAPTURE(frame, ours);
  // The smallest one holds the kernel's frame and a function or two.
  CHECK(ours <= 512);
}

TEST_CASE("under a storm of signals every thread gets on, and errno is kept") {
  for (const char* sample : {"all", "512KiB"}) {
    CAPTURE(sample);
    Preloaded victim("snapshot_edges", {"busy"});
    victim.set("MEMTRACE_SAMPLE", sample).start();
    REQUIRE(victim.read_line() == "ready");
    for (int i = 0; i < 800; ++i) {
      victim.kill(SIGUSR2);
      if (i % 80 != 0) continue;
      victim.tell("");
      REQUIRE(victim.read_line() == "getting on");
    }
    const Ending ending = victim.finish();
    CAPTURE(ending.err);
    CHECK(ending.exit_code == 0);
    const auto files = victim.snapshot_files();
    REQUIRE(!files.empty());
    const Snapshot last = read_or_fail(files.back());
    CHECK(last.self.at("lost_lock") == 0);
    CHECK(last.self.at("snapshots_failed") == 0);
    CHECK(last.self.at("snapshots_written") + 1 == files.size());
  }
}

TEST_CASE("signals that come together are answered together") {
  Preloaded victim("snapshot_edges", {"busy"});
  victim.set("MEMTRACE_SIGNAL", "SIGRTMIN+2").start();
  REQUIRE(victim.read_line() == "ready");
  constexpr std::size_t kTogether = 100;
  for (int burst = 0; burst < 3; ++burst) {
    victim.kill(SIGSTOP);
    for (std::size_t i = 0; i < kTogether; ++i) victim.kill(SIGRTMIN + 2);  // each of them is kept
    victim.kill(SIGCONT);
    victim.tell("");
    REQUIRE(victim.read_line() == "getting on");
  }
  (void)victim.wait_for_snapshots(1);
  CHECK(victim.finish().exit_code == 0);
  CHECK(victim.snapshot_files().size() < kTogether);
}

TEST_CASE("only the trigger signal gets a handler") {
  const auto caught = [](const std::string& text, std::size_t turn) {
    std::istringstream words(text);
    std::string word;
    for (std::size_t i = 0; i < turn * 2 + 2; ++i) words >> word;
    return std::stoull(word, nullptr, 16);
  };
  const Ending bare = Preloaded("snapshot_edges", {"handlers"}).without_shim().run();
  Preloaded victim("snapshot_edges", {"handlers"});
  const Ending ending = victim.exact().run();
  for (const std::size_t turn : {0u, 1u}) {
    CHECK((caught(ending.out, turn) ^ caught(bare.out, turn)) == 1ull << (SIGUSR2 - 1));
  }
  CHECK(victim.snapshot_files().size() == 2);
}

TEST_CASE("a signal while the program ends does not kill it") {
  for (int round = 0; round < 20; ++round) {
    Preloaded victim("snapshot_edges", {"leaves"});
    victim.set("MEMTRACE_AT_EXIT", "1").start();
    REQUIRE(victim.read_line() == "ready");
    victim.tell("");
    siginfo_t ended{};
    while (ended.si_pid == 0) {
      victim.kill(SIGUSR2);
      std::this_thread::sleep_for(std::chrono::microseconds(50));  // or it would do nothing but handle them
      REQUIRE(waitid(P_PID, static_cast<id_t>(victim.pid()), &ended, WEXITED | WNOWAIT | WNOHANG) == 0);
    }
    const Ending ending = victim.finish();
    CHECK(ending.signal == 0);
    CHECK(ending.exit_code == 5);
  }
}

// As at a limit on processes, which does not bind root.
void allow_no_threads() {
  sock_filter lines[] = {CALL_NUMBER, REFUSE(clone, EAGAIN), OTHERWISE(SECCOMP_RET_ALLOW)};
  const sock_fprog filter = FILTER(lines);
  if (!install(&filter)) _exit(125);
}

TEST_CASE("where no thread can be made a snapshot is refused, said once each, and the program goes on") {
  Preloaded victim("signal_program", {"none"});
  victim.in_child(allow_no_threads).start();
  REQUIRE(victim.read_line() == "ready");
  for (int i = 0; i < 2; ++i) {
    victim.tell("raise");
    CHECK(victim.read_line() == "raised");
  }
  victim.tell("snapshot");
  CHECK(victim.read_line() == "snapshot failed: " + std::to_string(EAGAIN));
  victim.tell("quit");
  const Ending ending = victim.finish();
  CHECK(ending.exit_code == 7);
  const std::string line =
      "memtrace: snapshot refused: its thread could not be started: Resource temporarily unavailable\n";
  CHECK(ending.err == line + line + line);
  CHECK(victim.snapshot_files().empty());
}

void on_one_processor() {
  cpu_set_t all;
  cpu_set_t one;
  if (sched_getaffinity(0, sizeof all, &all) != 0) _exit(125);
  CPU_ZERO(&one);
  for (std::size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++i) {
    if (CPU_ISSET(i, &all)) CPU_SET(i, &one);
  }
  if (sched_setaffinity(0, sizeof one, &one) != 0) _exit(125);
}

TEST_CASE("on one processor, in real time too, snapshots are taken and nothing is lost") {
  const bool real_time = GENERATE(false, true);
  if (real_time) {
    const sched_param lowest{1};
    sched_param before{};
    sched_getparam(0, &before);
    if (sched_setscheduler(0, SCHED_FIFO, &lowest) != 0) {
      WARN("may not run in real time");
      return;
    }
    REQUIRE(sched_setscheduler(0, SCHED_OTHER, &before) == 0);
  }
  Preloaded victim("real_time", {real_time ? "fifo" : "other"});
  const Ending ending = victim.exact().in_child(on_one_processor).run();
  CAPTURE(ending.err);
  REQUIRE(ending.exit_code == 0);
  const auto reports = reports_in(ending.out);
  REQUIRE(reports.size() == 1);
  const Snapshot snapshot = read_or_fail(reports[0].file);
  CHECK(difference(sites_of(snapshot), reports[0].truth) == "");
  CHECK(snapshot.self.at("lost_lock") == 0);
  CHECK(snapshot.self.at("snapshots_written") >= 10);
}

}  // namespace
}  // namespace memtrace::test
