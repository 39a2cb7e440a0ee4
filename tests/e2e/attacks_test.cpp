// What would break: whoever may write where snapshots go, or into the environment of a program, could make it
// write to another file, wait for ever, drive a terminal through it, or read what it keeps to itself.
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "tests/support/catch.hpp"
#include "tests/support/message_bytes.hpp"
#include "tests/support/preloaded.hpp"
#include "tests/support/run_program.hpp"
#include "tests/support/snapshot_tracer.hpp"

namespace memtrace::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrecious = "precious\n";

std::string text_in(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

// What an attacker puts where the program is about to make a file. `precious` is the file it is meant to
// spoil.
struct Plant {
  const char* what;
  bool (*put)(const fs::path& at, const fs::path& precious);
};
constexpr Plant kPlants[] = {
    {"symlink", [](const fs::path& at, const fs::path& to) { return symlink(to.c_str(), at.c_str()) == 0; }},
    {"dangling symlink",
     [](const fs::path& at, const fs::path& to) {
       return symlink((to.string() + "-not").c_str(), at.c_str()) == 0;
     }},
    {"hard link", [](const fs::path& at, const fs::path& to) { return link(to.c_str(), at.c_str()) == 0; }},
    {"FIFO", [](const fs::path& at, const fs::path&) { return mkfifo(at.c_str(), 0666) == 0; }},
    {"directory", [](const fs::path& at, const fs::path&) { return mkdir(at.c_str(), 0777) == 0; }},
    {"link to a device",
     [](const fs::path& at, const fs::path&) { return symlink("/dev/zero", at.c_str()) == 0; }},
};

// A steady host under the tracer, beside a file that nobody may change.
class Target {
 public:
  Target() : victim_("steady_host") {
    std::ofstream(precious()) << kPrecious;
    std::filesystem::create_directory(victim_.dir() / "snapshots");
    victim_.exact().set("MEMTRACE_DIR", dir()).start();
    REQUIRE(victim_.read_line() == "ready");
    tracer_.emplace(victim_.pid());
  }
  ~Target() { tracer_.reset(); }

  std::vector<long> take(const SnapshotTracer::Meddle& meddle = {}) { return tracer_->take(meddle); }

  // Neither the file nor the program.
  void check_unharmed() {
    CHECK(text_in(precious()) == kPrecious);
    CHECK_FALSE(fs::exists(precious().string() + "-not"));
    victim_.tell("");
    CHECK(victim_.read_line().find("blocked 0 errno 0") != std::string::npos);
  }
  // Whole, every one of them; gone afterwards.
  std::size_t whole_snapshots(const fs::path& where) const {
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator(where)) {
      if (entry.path().extension() == ".snap") {
        CHECK(read_or_fail(entry.path()).records.size() > 100);
        ++count;
      }
      fs::remove_all(entry.path());
    }
    return count;
  }

  [[nodiscard]] fs::path dir() const { return victim_.dir() / "snapshots"; }
  [[nodiscard]] fs::path precious() const { return victim_.dir() / "precious"; }
  [[nodiscard]] Preloaded& victim() { return victim_; }

 private:
  Preloaded victim_;
  std::optional<SnapshotTracer> tracer_;
};

bool makes_file(const SystemCall& call) {
  return call.number == SYS_openat && (call.arguments[2] & O_CREAT) != 0;
}

TEST_CASE("what is planted at the temporary name at the last moment is not touched") {
  Target target;
  for (const Plant& plant : kPlants) {
    CAPTURE(plant.what);
    bool planted = false;
    target.take([&](SystemCall& call) {
      if (!makes_file(call)) return;
      planted = plant.put(target.dir() / call.text(1), target.precious());
    });
    CHECK(planted);
    CHECK(target.whole_snapshots(target.dir()) == 0);
    target.check_unharmed();
  }
  target.take();
  CHECK(target.whole_snapshots(target.dir()) == 1);
  const std::string said = target.victim().errors();
  CHECK(std::count(said.begin(), said.end(), '\n') == std::ssize(kPlants));
}

TEST_CASE("what is planted at the final name at the last moment stays, and the snapshot takes the next one") {
  Target target;
  for (const Plant& plant : kPlants) {
    CAPTURE(plant.what);
    bool planted = false;
    fs::path where;
    target.take([&](SystemCall& call) {
      if (call.number != SYS_renameat2 || planted) return;
      where = target.dir() / call.text(3);
      planted = plant.put(where, target.precious());
    });
    CHECK(planted);
    CHECK(fs::exists(fs::symlink_status(where)));
    fs::remove_all(where);
    CHECK(target.whole_snapshots(target.dir()) == 1);
    target.check_unharmed();
  }
  CHECK(target.victim().errors().empty());
}

TEST_CASE("a file put in the temporary one's place is not written to") {
  // A directory that others may write to without a sticky bit: they may replace any file in it, whole ones
  // too.
  Target target;
  for (const Plant& plant : kPlants) {
    CAPTURE(plant.what);
    std::string temporary;
    for (const long moment : {SYS_write, SYS_pwrite64, SYS_fsync, SYS_renameat2}) {
      bool planted = false;
      target.take([&](SystemCall& call) {
        if (makes_file(call)) temporary = call.text(1);
        if (call.number != moment || planted) return;
        fs::remove(target.dir() / temporary);
        planted = plant.put(target.dir() / temporary, target.precious());
      });
      CHECK(planted);
      for (const auto& entry : fs::directory_iterator(target.dir())) fs::remove_all(entry.path());
      target.check_unharmed();
    }
  }
}

TEST_CASE("a directory swapped while a snapshot is written gets nothing of it") {
  Target target;
  const fs::path evil = target.victim().dir() / "evil";
  const fs::path aside = target.victim().dir() / "aside";
  fs::create_directory(evil);
  const std::vector<long> calls = target.take();
  CHECK(target.whole_snapshots(target.dir()) == 1);
  const auto first =
      static_cast<std::size_t>(std::find(calls.begin(), calls.end(), SYS_unlinkat) - calls.begin());
  for (std::size_t position = first; position < calls.size(); ++position) {
    if (calls[position] == SYS_getpid || calls[position] == SYS_process_vm_readv) continue;
    CAPTURE(position, calls[position]);
    bool swapped = false;
    target.take([&](SystemCall& call) {
      if (call.index != position) return;
      fs::rename(target.dir(), aside);
      fs::create_directory_symlink(evil, target.dir());
      swapped = call.last = true;
    });
    CHECK(fs::is_empty(evil));
    if (!swapped) {  // it made fewer calls than the first
      CHECK(target.whole_snapshots(target.dir()) == 1);
      continue;
    }
    CHECK(target.whole_snapshots(aside) == 1);
    fs::remove(target.dir());
    fs::rename(aside, target.dir());
  }
  target.check_unharmed();
}

TEST_CASE("what is left as a label makes nobody wait and is not followed") {
  Target target;
  const fs::path label = target.dir() / (".memtrace-label." + std::to_string(target.victim().pid()));
  for (const Plant& plant : kPlants) {
    CAPTURE(plant.what);
    REQUIRE(plant.put(label, target.precious()));
    target.take();
    for (const auto& file : fs::directory_iterator(target.dir())) {
      const std::string name = file.path().filename();
      if (plant.what != std::string("hard link")) CHECK(name.find("precious") == std::string::npos);
    }
    CHECK(target.whole_snapshots(target.dir()) == 1);
    target.check_unharmed();
  }
  std::ofstream(label) << "../../../etc/x";
  target.take();
  CHECK(target.whole_snapshots(target.dir()) == 1);
}

TEST_CASE("another user's directory is refused") {
  if (geteuid() != 0) return;  // only root has two users
  Preloaded victim("call_chain");
  REQUIRE(chmod(victim.dir().c_str(), 0755) == 0);
  victim.in_child([] {
    if (setgroups(0, nullptr) != 0 || setgid(65534) != 0 || setuid(65534) != 0) _exit(125);
  });
  const Ending ending = victim.run();
  CHECK(ending.exit_code == 0);
  CHECK(ending.err.find("Permission denied; set MEMTRACE_DIR") != std::string::npos);
  CHECK(victim.snapshot_files().empty());
}

TEST_CASE("snapshots are their owner's alone, whatever the umask") {
  Preloaded victim("call_chain");
  CHECK(victim.in_child([] { umask(0); }).run().exit_code == 0);
  struct stat status {};
  REQUIRE(stat(victim.snapshot_files().at(0).c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0600);
}

TEST_CASE("no byte of a setting or of a program's name drives a terminal or adds a line") {
  const std::string evil = "\033[2J\n\r\x07\x7f\xc2\x9b";
  Preloaded victim("call_chain");
  const fs::path dir = victim.dir() / ("dir" + evil);
  const fs::path program = victim.dir() / ("name" + evil);
  fs::create_symlink(program_path("call_chain"), program);
  victim.set("MEMTRACE_DIR", dir).set("MEMTRACE_LOG", "info").set("MEMTRACE_TAGS", "k=" + evil);
  for (const char* name : {"MEMTRACE_SAMPLE", "MEMTRACE_SIGNAL", "MEMTRACE_UNWIND", "MEMTRACE_FRAMES"})
    victim.set(name, evil);
  victim.set("MEMTRACE_" + evil, evil);
  const Ending ending = victim.run();
  CHECK(ending.exit_code == 0);
  std::istringstream lines(ending.err);
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    CAPTURE(line);
    CHECK(line.rfind("memtrace: ", 0) == 0);
    CHECK(std::none_of(line.begin(), line.end(),
                       [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 127; }));
    CHECK(line.find("\xc2\x9b") == std::string::npos);
  }
  CHECK(count >= 6);
  CHECK(std::distance(fs::directory_iterator(dir), fs::directory_iterator()) == 1);
}

TEST_CASE("a snapshot holds nothing of what the program keeps to itself") {
  const std::string secret = "Quux7Zyxw";
  Preloaded victim("secretive", {secret});
  victim.exact().set("PASSWORD", secret + "-environment").set("MEMTRACE_TAGS", "open=tag");
  const Ending ending = victim.run();
  REQUIRE(ending.exit_code == 0);
  const auto files = victim.snapshot_files();
  REQUIRE(files.size() == 1);
  const std::string raw = text_in(files[0]);
  const auto message = message_of(bytes_of(raw));
  const std::string_view text = text_of(message);
  for (const std::string_view part : {std::string_view(raw), text}) {
    CHECK(part.find(secret) == std::string_view::npos);
    CHECK(part.find(secret.substr(0, 6)) == std::string_view::npos);
  }
  // What it does hold, as the README says.
  for (const char* known : {"open-name", "open=tag", "secretive", "libc.so.6"}) {
    CAPTURE(known);
    CHECK(text.find(known) != std::string_view::npos);
  }
}

TEST_CASE("a library whose path the loader would cut is not preloaded") {
  const std::string memtrace = MEMTRACE_BUILD_DIR "/analyzer/memtrace";
  for (const std::string name : {"with space", "with:colon"}) {
    CAPTURE(name);
    const TempDir dir;
    const fs::path there = dir.path() / name;
    fs::create_directory(there);
    fs::copy_file(memtrace, there / "memtrace");
    fs::copy_file(shim_path(), there / "libmemtrace.so");
    const std::string copy = there / "memtrace";
    const auto ran = run_program("'" + copy + "' run -- true 2>&1");
    CHECK(ran.exit_code == 2);
    CHECK(ran.output.find(name) != std::string::npos);
  }
}

}  // namespace
}  // namespace memtrace::test
