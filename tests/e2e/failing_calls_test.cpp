// What would break: one call of the snapshot thread that fails (a full disk, a limit, a lost directory) would
// leave half a file under a final name, take the program down or go untold; so would a death in the middle.
//
// Each call of a snapshot is made to fail in turn. TEST_FULL=1: none left out, and nearly all with every
// error.
#include <signal.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <thread>

#include "tests/support/catch.hpp"
#include "tests/support/preloaded.hpp"
#include "tests/support/snapshot_tracer.hpp"

namespace memtrace::test {
namespace {

namespace fs = std::filesystem;

bool full_run() { return std::getenv("TEST_FULL") != nullptr; }

std::size_t lines_in(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

std::vector<std::string> unfinished_files(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".tmp") names.push_back(entry.path().filename());
  }
  return names;
}

std::ptrdiff_t blocks_held(const Snapshot& snapshot) {
  return std::count_if(snapshot.records.begin(), snapshot.records.end(),
                       [](const Record& record) { return record.size_bytes == 777; });
}

// A steady host under the tracer, whose every snapshot is judged.
class Host {
 public:
  Host() : victim_("steady_host") {
    victim_.exact().set("MEMTRACE_LOG", "info").start();
    REQUIRE(victim_.read_line() == "ready");
    tracer_.emplace(victim_.pid());
  }

  std::vector<long> take(const SnapshotTracer::Meddle& meddle = {}) {
    std::ofstream(victim_.dir() / (".memtrace-label." + std::to_string(victim_.pid()))) << "labelled";
    return tracer_->take(meddle);
  }

  // After take(): whether there is a file, whole; the program's answer is kept for the end.
  bool judge() {
    const auto files = victim_.snapshot_files();
    REQUIRE(files.size() <= 1);
    const std::string said = victim_.errors().substr(told_);
    told_ += said.size();
    CAPTURE(said);
    lines_ = lines_in(said);
    said_ = said;
    if (files.empty()) {
      ++failed_;
    } else {
      latest_ = read_or_fail(files[0]);
      CHECK(blocks_held(latest_) == 100);
      CHECK(latest_.self.at("snapshots_failed") == failed_);
      CHECK(latest_.self.at("snapshots_written") == written_++);
      CHECK((fs::status(files[0]).permissions() & fs::perms::mask) ==
            (fs::perms::owner_read | fs::perms::owner_write));
      fs::remove(files[0]);
    }
    victim_.tell("");
    answers_ += victim_.read_line() + "\n";
    ++steps_;
    return !files.empty();
  }

  // What it answered is what it answers without the shim.
  void check_undisturbed() {
    tracer_.reset();
    const Ending ending = victim_.finish();
    Preloaded bare("steady_host");
    bare.without_shim().start();
    CHECK(bare.read_line() == "ready");
    std::string expected;
    for (int i = 0; i < steps_; ++i) {
      bare.tell("");
      expected += bare.read_line() + "\n";
    }
    const Ending usual = bare.finish();
    CHECK(answers_ == expected);
    CHECK(ending.out == usual.out);
    CHECK(ending.exit_code == usual.exit_code);
  }

  [[nodiscard]] const Snapshot& latest() const { return latest_; }
  [[nodiscard]] std::size_t lines() const { return lines_; }
  [[nodiscard]] const std::string& said() const { return said_; }
  [[nodiscard]] std::uint64_t failed() const { return failed_; }
  [[nodiscard]] const fs::path& dir() const { return victim_.dir(); }

 private:
  Preloaded victim_;
  std::optional<SnapshotTracer> tracer_;
  Snapshot latest_;
  std::string answers_;
  std::string said_;
  std::size_t told_ = 0;
  std::size_t lines_ = 0;
  std::uint64_t failed_ = 0;
  std::uint64_t written_ = 0;
  int steps_ = 0;
};

constexpr int kErrors[] = {ENOSPC, EIO, EINTR, EDQUOT, EFBIG, EMFILE, EACCES, EROFS, ENOMEM};

bool to_stderr(const SystemCall& call) { return call.number == SYS_write && call.arguments[0] == 2; }

// Messages to the user fail, too: then there is none.
bool tells(const SystemCall& call) {
  return to_stderr(call) || call.number == SYS_fstat || call.number == SYS_poll ||
         call.number == SYS_rt_sigprocmask || call.number == SYS_rt_sigpending;
}

bool on_disk(const SystemCall& call) {
  constexpr long kOnDisk[] = {SYS_write,     SYS_pwrite64, SYS_fsync,   SYS_openat,
                              SYS_renameat2, SYS_linkat,   SYS_mkdirat, SYS_unlinkat};
  return std::find(std::begin(kOnDisk), std::end(kOnDisk), call.number) != std::end(kOnDisk) &&
         !to_stderr(call);
}

// Nobody can say that a file is whole when one of these failed.
bool is_essential(const SystemCall& call, int error) {
  const bool writes = (call.number == SYS_write && !to_stderr(call)) || call.number == SYS_pwrite64;
  return call.number == SYS_fsync || (writes && error != EINTR);
}

void check_told(const Host& host, const SystemCall& failed, int error, bool written) {
  CAPTURE(failed.number, failed.index, error, host.said());
  if (tells(failed)) {
    CHECK(host.lines() <= 1);
    return;
  }
  CHECK(host.lines() == 1);
  const int told = failed.number == SYS_mmap ? ENOMEM : error;
  CHECK(host.said().find(written ? "memtrace: snapshot /" : std::strerror(told)) != std::string::npos);
}

// One call among those of a snapshot: the n-th of its number, since a busy program changes how many of others
// there are.
class Chosen {
 public:
  Chosen(const std::vector<long>& calls, std::size_t position)
      : number_(calls[position]),
        before_(std::count(calls.begin(), calls.begin() + static_cast<std::ptrdiff_t>(position), number_)) {}
  // Asked about each call of a snapshot, in order.
  bool is(const SystemCall& call) { return call.number == number_ && before_-- == 0; }

 private:
  long number_;
  std::ptrdiff_t before_;
};

// In which order a snapshot makes its calls, when nothing is in its way.
std::vector<long> usual_calls(Host& host) {
  host.take();
  CHECK(host.judge());
  const std::vector<long> calls = host.take();
  CHECK(host.judge());
  return calls;
}

// Reading build-ids repeats two calls a hundred times.
bool reads_build_id(long number) { return number == SYS_getpid || number == SYS_process_vm_readv; }

bool worth_trying(const std::vector<long>& calls, std::size_t position) {
  return full_run() || !reads_build_id(calls[position]) || position % 16 < 2;
}

TEST_CASE("a call that fails once costs at most its snapshot, which is counted and told once") {
  Host host;
  const std::vector<long> calls = usual_calls(host);
  const std::size_t modules = host.latest().modules.size();
  const std::set<long> file_calls{SYS_openat, SYS_write,     SYS_pwrite64, SYS_fsync,
                                  SYS_close,  SYS_renameat2, SYS_unlinkat, SYS_read};
  std::set<long> tried;
  std::uint64_t unlisted = 0;
  int rounds = 0;
  int vain_rounds = 0;
  // On the disk before it has its name.
  CHECK(std::find(std::find(calls.begin(), calls.end(), SYS_fsync), calls.end(), SYS_renameat2) !=
        calls.end());
  for (std::size_t position = 0; position < calls.size(); ++position) {
    if (!worth_trying(calls, position)) continue;
    const long number = calls[position];
    const bool every = file_calls.count(number) == 1 || (full_run() && !reads_build_id(number));
    for (std::size_t i = 0; i < std::size(kErrors); ++i) {
      if (!every && i != position % std::size(kErrors)) continue;
      const int error = kErrors[i];
      SystemCall failed;
      bool list_of_modules = false;
      Chosen chosen(calls, position);
      host.take([&](SystemCall& call) {
        if (!chosen.is(call)) return;
        call.error = error;
        call.last = true;
        failed = call;
        list_of_modules = call.number == SYS_openat && call.text(1) == "/proc/self/maps";
      });
      const bool written = host.judge();
      ++rounds;
      if (failed.error == 0) {  // a snapshot with fewer calls of this number than the first
        ++vain_rounds;
        CHECK(written);
        continue;
      }
      tried.insert(number);
      check_told(host, failed, error, written);
      CHECK((failed.number == SYS_unlinkat || unfinished_files(host.dir()).empty()));
      if (is_essential(failed, error)) CHECK_FALSE(written);
      if (!written) continue;
      CHECK(host.latest().modules.size() >= modules);
      const std::uint64_t lost = host.latest().self.at("lost_modules");
      if (list_of_modules) CHECK(lost > unlisted);
      unlisted = lost;
    }
  }
  std::set<long> expected(calls.begin(), calls.end());
  for (std::set<long>* set : {&expected, &tried}) set->erase(SYS_futex);  // where a lock happened to be held
  CHECK(tried == expected);
  CHECK(vain_rounds * 20 < rounds);
  host.take();
  CHECK(host.judge());
  CHECK(unfinished_files(host.dir()).empty());
  CHECK(host.failed() > 0);
  host.check_undisturbed();
}

TEST_CASE("a disk that fails from some moment on leaves nothing under a final name") {
  Host host;
  const std::vector<long> calls = usual_calls(host);
  for (std::size_t position = 0; position < calls.size(); ++position) {
    if (!worth_trying(calls, position) || calls[position] == SYS_close) continue;
    for (const int error : {ENOSPC, EIO}) {
      if (error == EIO && !full_run()) continue;
      bool any = false;
      bool reached = false;
      Chosen chosen(calls, position);
      host.take([&](SystemCall& call) {
        reached = chosen.is(call) || reached;
        if (!reached || !on_disk(call)) return;
        call.error = error;
        any = true;
      });
      const bool written = host.judge();
      if (!any) CHECK(written);
      CHECK(host.lines() == 1);
    }
  }
  host.take();
  CHECK(host.judge());
  CHECK(unfinished_files(host.dir()).empty());
  host.check_undisturbed();
}

TEST_CASE("writes and reads that are cut short are carried on, and a write of nothing is a failure") {
  Host host;
  const std::vector<long> calls = usual_calls(host);
  const std::size_t modules = host.latest().modules.size();
  for (const std::uint64_t size : {1u, 100u}) {
    host.take([&](SystemCall& call) {
      const bool data = call.number == SYS_write || call.number == SYS_pwrite64 || call.number == SYS_read;
      if (data && !to_stderr(call) && call.arguments[2] > size && (size > 1 || call.number != SYS_write))
        call.size = size;
    });
    CHECK(host.judge());
    CHECK(host.latest().modules.size() == modules);
  }
  for (std::size_t position = 0; position < calls.size(); ++position) {
    if (calls[position] != SYS_write && calls[position] != SYS_pwrite64) continue;
    for (const bool then_full : {false, true}) {
      bool any = false;
      bool next = false;
      Chosen chosen(calls, position);
      host.take([&](SystemCall& call) {
        const bool here = chosen.is(call);
        if ((call.number != SYS_write && call.number != SYS_pwrite64) || to_stderr(call)) return;
        if (next) call.error = ENOSPC;
        next = here && then_full && call.arguments[2] > 1;
        if (!here) return;
        call.size = then_full ? 1 : 0;
        any = next || !then_full;
      });
      CHECK(host.judge() == !any);
      CHECK(host.lines() == 1);
    }
  }
  host.check_undisturbed();
}

TEST_CASE("a death before any call leaves whole files only") {
  Host host;
  const std::vector<long> calls = usual_calls(host);
  std::size_t whole = 0;
  std::size_t killed = 0;
  std::size_t found_left = 0;
  for (std::size_t position = 0; position < calls.size(); ++position) {
    CAPTURE(position);
    if (!worth_trying(calls, position)) continue;
    Preloaded victim("steady_host");
    victim.exact().start();
    REQUIRE(victim.read_line() == "ready");
    Chosen chosen(calls, position);
    const std::string left = ".steady_host." + std::to_string(victim.pid()) + ".";  // README.md, limits
    SnapshotTracer(victim.pid()).take([&](SystemCall& call) { call.kill = chosen.is(call); });
    killed += victim.finish().signal == SIGKILL;  // it may make fewer calls than the other
    for (const auto& file : victim.snapshot_files()) {
      CHECK(blocks_held(read_or_fail(file)) == 100);
      ++whole;
    }
    const auto unfinished = unfinished_files(victim.dir());
    CHECK(unfinished.size() + victim.snapshot_files().size() <= 1);
    for (const std::string& name : unfinished) CHECK(name.starts_with(left));
    found_left += unfinished.size();
  }
  CHECK(found_left > 0);
  CHECK(whole > 0);  // of those that died after it had its name
  CHECK(killed > whole);
}

TEST_CASE("a death at any moment leaves whole files only") {
  const int steps = full_run() ? 300 : 10;  // a tenth of a millisecond each
  for (int step = 0; step < steps; ++step) {
    CAPTURE(step);
    Preloaded victim("steady_host");
    victim.exact().start();
    REQUIRE(victim.read_line() == "ready");
    victim.kill(SIGUSR2);
    std::this_thread::sleep_for(std::chrono::microseconds(100 * step));  // which moment it is does not matter
    victim.kill(SIGKILL);
    CHECK(victim.finish().signal == SIGKILL);
    for (const auto& file : victim.snapshot_files()) CHECK(blocks_held(read_or_fail(file)) == 100);
  }
}

}  // namespace
}  // namespace memtrace::test
