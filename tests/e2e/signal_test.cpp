// What would break: kill -USR2 would kill the program, or give no snapshot; a program that uses the signal
// itself would miss it, see our handler instead of its own, or have its blocking calls cut short.
#include <signal.h>

#include <algorithm>
#include <fstream>

#include "tests/support/catch.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

struct Talk : Preloaded {
  using Preloaded::Preloaded;
  Talk& begin() {
    start();
    CHECK(read_line() == "ready");
    return *this;
  }
  std::string ask(const std::string& line) {
    tell(line);
    return read_line();
  }
  // Until the victim's main thread is in read(2) again.
  void wait_until_reading() const {
    const auto file = "/proc/" + std::to_string(pid()) + "/syscall";
    for (std::string line; line.rfind("0 ", 0) != 0;) {
      std::ifstream stream(file);
      REQUIRE(std::getline(stream, line));
    }
  }
  // By the API: after what was asked for before it.
  std::string snapshot_name() {
    tell("snapshot");
    std::string line;
    do line = read_line();
    while (line.rfind("snapshot", 0) != 0);
    return line;
  }
  // The signal has been handled when its thread answers, because it is delivered before read(2) returns.
  void settle() { CHECK(ask("view") != "foreign"); }
};

std::size_t lines_in(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

TEST_CASE("kill -USR2 twice gives two snapshots, and the program goes on reading") {
  Talk victim("signal_program", {"none"});
  victim.begin();
  for (std::size_t i = 1; i <= 2; ++i) {
    victim.wait_until_reading();
    victim.kill(SIGUSR2);
    CHECK(victim.wait_for_snapshots(i).size() == i);
  }
  CHECK(victim.ask("view") == "default");
  CHECK(victim.ask("raise") == "raised");
  victim.wait_for_snapshots(3);
  CHECK(victim.ask("kill") == "killed");
  victim.wait_for_snapshots(4);
  victim.tell("quit");
  const Ending ending = victim.finish();
  CHECK(ending.exit_code == 7);
  CHECK(ending.err.empty());
  for (std::uint64_t i = 0; i < 4; ++i) {
    const Snapshot snapshot = victim.snapshot(i);
    CHECK(snapshot.reason == TriggerReason::kSignal);
    CHECK(snapshot.sequence == i + 1);
    CHECK(snapshot.self.at("snapshots_written") == i);
  }
  CHECK(victim.snapshot(0).session == victim.snapshot(3).session);
}

TEST_CASE("MEMTRACE_SIGNAL chooses the signal, and the others keep their meaning") {
  const int number = GENERATE(SIGUSR1, 0);
  const int signal = number == 0 ? SIGRTMIN + 2 : number;
  Talk victim("signal_program", {"none"});
  victim.set("MEMTRACE_SIGNAL", number == 0 ? "SIGRTMIN+2" : "SIGUSR1");
  victim.begin();
  victim.kill(signal);
  victim.wait_for_snapshots(1);
  victim.kill(SIGUSR2);
  const Ending ending = victim.finish();
  CHECK(ending.signal == SIGUSR2);
  CHECK(victim.snapshot_files().size() == 1);
}

TEST_CASE("MEMTRACE_SIGNAL=none leaves every signal alone") {
  Talk victim("signal_program", {"none"});
  victim.set("MEMTRACE_SIGNAL", "none").exact();
  victim.begin();
  CHECK(victim.snapshot_name().find(".0001.api.snap") != std::string::npos);
  victim.kill(SIGUSR2);
  CHECK(victim.finish().signal == SIGUSR2);
}

TEST_CASE("an ignored signal stays ignored, inherited or asked for") {
  const bool inherited = GENERATE(true, false);
  Talk victim("signal_program", {inherited ? "none" : "ignore"});
  if (inherited) victim.in_child([] { signal(SIGUSR2, SIG_IGN); });
  victim.begin();
  victim.kill(SIGUSR2);
  CHECK(victim.ask("view") == "ignored");
  CHECK(victim.ask("raise") == "raised");
  CHECK(victim.snapshot_name().find(".0001.api.snap") != std::string::npos);
  victim.tell("quit");
  CHECK(victim.finish().exit_code == 7);
  CHECK(victim.snapshot_files().size() == 1);
  CHECK(victim.snapshot(0).self.at("snapshots_failed") == 0);
}

TEST_CASE(
    "a program's own handler runs for every sender, sees itself, and one line says where snapshots are") {
  const std::string kind = GENERATE("plain", "signal", "siginfo", "masking", "altstack");
  CAPTURE(kind);
  Talk victim("signal_program", {kind});
  victim.begin();
  for (int i = 1; i <= 3; ++i) {
    victim.kill(SIGUSR2);
    victim.settle();
    CHECK(victim.ask("count") == std::to_string(i));
  }
  CHECK(victim.ask("raise") == "raised");
  CHECK(victim.ask("kill") == "killed");
  CHECK(victim.ask("count") == "5");
  CHECK(victim.ask("view") == "own");
  CHECK(victim.snapshot_files().empty());
  CHECK(victim.snapshot_name().find(".0001.api.snap") != std::string::npos);
  victim.tell("quit");
  const Ending ending = victim.finish();
  CHECK(ending.exit_code == 7);
  CAPTURE(ending.err);
  CHECK(lines_in(ending.err) == 1);
  CHECK(ending.err.rfind("memtrace: ", 0) == 0);
  CHECK(ending.err.find("MEMTRACE_SIGNAL=SIGRTMIN+1") != std::string::npos);
}

TEST_CASE("a handler that is installed for one time gives way to snapshots") {
  Talk victim("signal_program", {"once"});
  victim.begin();
  CHECK(victim.ask("raise") == "raised");
  CHECK(victim.ask("count") == "1");
  CHECK(victim.ask("view") == "default");
  victim.wait_until_reading();  // a call that its own handler would have cut short, but not a snapshot
  victim.kill(SIGUSR2);
  victim.wait_for_snapshots(1);
  CHECK(victim.ask("count") == "1");
}

TEST_CASE("a program that gives the signal up gets snapshots, one that ignores it then none") {
  Talk victim("signal_program", {"plain"});
  victim.begin();
  CHECK(victim.ask("default") == "given up");
  CHECK(victim.ask("view") == "default");
  victim.wait_until_reading();
  victim.kill(SIGUSR2);
  victim.wait_for_snapshots(1);
  CHECK(victim.ask("ignore") == "given up");
  victim.kill(SIGUSR2);
  CHECK(victim.ask("view") == "ignored");
  CHECK(victim.snapshot_name().find(".0002.api.snap") != std::string::npos);
}

TEST_CASE("a blocked signal waits, and sigwait takes it before us") {
  Talk victim("signal_program", {"none"});
  victim.begin();
  CHECK(victim.ask("block") == "blocked");
  victim.kill(SIGUSR2);
  CHECK(victim.snapshot_name().find(".0001.api.snap") != std::string::npos);  // while it is pending
  CHECK(victim.ask("wait") == "came");
  victim.kill(SIGUSR2);
  CHECK(victim.ask("view") == "default");
  CHECK(victim.snapshot_files().size() == 1);
  CHECK(victim.ask("unblock") == "unblocked");
  victim.wait_for_snapshots(2);
}

TEST_CASE("a storm of signals over eight busy threads leaves the program right and every file whole") {
  Preloaded victim("random_model", {"40000", "11"});
  victim.exact().start();
  std::ifstream status("/proc/" + std::to_string(victim.pid()) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("SigCgt", 0) == 0) break;  // before the handler is there it would die, as without the shim
  }
  std::string first = victim.read_line();  // the first quiet point: the shim is up
  for (int i = 0; i < 2000; ++i) victim.kill(SIGUSR2);
  const Ending ending = victim.finish();
  CAPTURE(ending.err);
  REQUIRE(ending.exit_code == 0);
  const auto reports = reports_in(first + "\n" + ending.out);
  REQUIRE(reports.size() == 3);
  for (const Report& report : reports) {
    const Snapshot snapshot = read_or_fail(report.file);
    CHECK(difference(sites_of(snapshot), report.truth) == "");
    CHECK(snapshot.self.at("lost_lock") == 0);
  }
  const auto files = victim.snapshot_files();
  CHECK(files.size() > 3);
  for (const auto& file : files) CHECK(read_or_fail(file).pid != 0);
}

}  // namespace
}  // namespace memtrace::test
