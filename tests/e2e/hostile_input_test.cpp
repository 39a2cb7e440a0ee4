// What would break: a snapshot, a program file or a process made by somebody else could hang memdiff or
// memtrace, crash them, fill the memory, or write to the terminal of who looks at it.
#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "tests/support/catch.hpp"
#include "tests/support/message_bytes.hpp"
#include "tests/support/preloaded.hpp"
#include "tests/support/run_program.hpp"
#include "tests/support/snapshot_builder.hpp"

namespace memtrace::test {
namespace {

namespace fs = std::filesystem;

constexpr int kDone = 0;
constexpr int kRefused = 2;

// Both streams together; a tenth of what any machine has, and 20 seconds.
ProgramResult bounded(const std::string& command) {
  return run_program("ulimit -v 3000000; exec timeout 20 " + command + " 2>&1");
}
ProgramResult memdiff(const std::string& arguments) {
  return bounded(MEMTRACE_BUILD_DIR "/analyzer/memdiff " + arguments);
}
ProgramResult memtrace_command(const std::string& arguments) {
  return bounded(MEMTRACE_BUILD_DIR "/analyzer/memtrace " + arguments);
}

bool drives_terminal(const std::string& text) {
  return text.find("\xc2\x9b") != std::string::npos || std::any_of(text.begin(), text.end(), [](char c) {
           return c != '\n' && (static_cast<unsigned char>(c) < ' ' || c == 127);
         });
}

std::string text_in(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}
void put(const fs::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// A snapshot whose one stack lies in the module at `path`.
void save_with_module(const fs::path& file, const std::string& path, const std::string& build_id) {
  SnapshotBuilder builder;
  const auto module =
      builder.add_module({.start = 0x1000, .end = 0x900000, .path = path, .build_id = build_id});
  builder.add_live(builder.add_stack({builder.add_location(0x1234, module)}), 3, 100);
  builder.write(file);
}

// A program with an evil name for a function and for a file, that ran and left a snapshot.
class Recorded {
 public:
  Recorded() {
    const fs::path source = dir_.path() / "file_EVILFILE_.c";
    put(source,
        "#include <stdlib.h>\n"
        "void* kept;\n"
        "__attribute__((noinline)) void call_EVILNAME_(void) { kept = malloc(100000); }\n"
        "int main(void) { call_EVILNAME_(); return 0; }\n");
    const auto built =
        run_program("cd " + dir_.path().string() + " && gcc -g -O1 -fno-builtin -o evil file_EVILFILE_.c");
    REQUIRE(built.exit_code == 0);
    Preloaded victim(program().string());
    REQUIRE(victim.exact().set("MEMTRACE_AT_EXIT", "1").run().exit_code == 0);
    fs::copy_file(victim.snapshot_files().at(0), snapshot());
  }
  // In place, so that everything else stays where it is.
  void replace(const std::string& what, const std::string& by) const {
    REQUIRE(what.size() == by.size());
    std::string bytes = text_in(program());
    std::size_t count = 0;
    for (std::size_t at = 0; (at = bytes.find(what, at)) != std::string::npos; ++count)
      bytes.replace(at, what.size(), by);
    REQUIRE(count > 0);
    put(program(), bytes);
  }
  [[nodiscard]] fs::path program() const { return dir_.path() / "evil"; }
  [[nodiscard]] fs::path snapshot() const { return dir_.path() / "evil.snap"; }
  [[nodiscard]] fs::path dir() const { return dir_.path(); }

 private:
  TempDir dir_;
};

TEST_CASE("names in debug information drive no terminal") {
  const Recorded recorded;
  CHECK(memdiff(recorded.snapshot().string()).output.find("call_EVILNAME_") != std::string::npos);
  recorded.replace("EVILNAME", "\033[2J\n\xc2\x9bx");
  recorded.replace("EVILFILE", "\033]0;\r\x07x\x7f");
  for (const std::string options : {"", "-g function", "-g lineno -F tracemalloc", "-F json"}) {
    const auto ran = memdiff(options + " " + recorded.snapshot().string());
    CAPTURE(options, ran.output);
    CHECK(ran.exit_code == kDone);
    const bool lines_only = options == "-g lineno -F tracemalloc";
    CHECK(ran.output.find(lines_only ? "file_" : "call_") != std::string::npos);
    // JSON has its own way with control characters.
    if (options != "-F json") CHECK_FALSE(drives_terminal(ran.output));
    CHECK(ran.output.find('\033') == std::string::npos);
  }
}

TEST_CASE("a program file that is damaged, or another one, costs lines and no more") {
  const Recorded recorded;
  const std::string whole = text_in(recorded.program());
  const std::size_t debug = whole.size() / 2;
  for (std::size_t step = 0; step < 20; ++step) {
    std::string damaged = whole;
    for (std::size_t at = 64 + step * 37; at < damaged.size(); at += step < 10 ? 211 : 1009) {
      if (step % 2 == 0 || at > debug)
        damaged[at] = static_cast<char>(damaged[at] ^ static_cast<char>(1 << step % 8));
    }
    put(recorded.program(), damaged);
    const auto ran = memdiff(recorded.snapshot().string());
    CAPTURE(step, ran.output);
    CHECK(ran.exit_code == kDone);
    CHECK_FALSE(drives_terminal(ran.output));
  }
  fs::remove(recorded.program());
  fs::copy_file("/bin/true", recorded.program());
  const auto ran = memdiff(recorded.snapshot().string());
  CHECK(ran.exit_code == kDone);
  CHECK(ran.output.find("call_EVILNAME_") == std::string::npos);
  CHECK(ran.output.find("evil has build-id") != std::string::npos);
}

TEST_CASE("a module's path may name anything") {
  const TempDir dir;
  const auto in_dir = [&](const char* name) { return (dir.path() / name).string(); };
  REQUIRE(mkfifo(in_dir("fifo").c_str(), 0600) == 0);
  REQUIRE(symlink(in_dir("loop").c_str(), in_dir("loop").c_str()) == 0);
  fs::copy_file("/bin/true", in_dir("huge"));
  fs::resize_file(in_dir("huge"), std::uintmax_t{1} << 40);
  put(in_dir("empty"), "");
  put(in_dir("head-only"), std::string_view("\177ELF\2\1\1", 7));
  const std::string paths[] = {
      in_dir("fifo"),      in_dir("loop"),     in_dir("huge"),   in_dir("empty"),
      in_dir("head-only"), dir.path(),         "/dev/zero",      "/dev/stdin",
      "/proc/kcore",       "/proc/self/mem",   "/proc/self/exe", "/proc/kmsg",
      "relative",          "../../etc/passwd", "\033[2J\n",      std::string(4000, 'x')};
  for (const std::string& path : paths) {
    for (const char* build_id : {"", "0123456789abcdef0123456789abcdef01234567"}) {
      save_with_module(in_dir("a.snap"), path, build_id);
      const auto ran = memdiff("--frames 0 " + in_dir("a.snap"));
      CAPTURE(path, build_id, ran.output);
      CHECK(ran.exit_code == kDone);
      CHECK_FALSE(drives_terminal(ran.output));
    }
  }
}

TEST_CASE("a debug file that is a hole of a terabyte is not read") {
  const Recorded recorded;
  const std::string commands = "cd " + recorded.dir().string() +
                               " && strip -g evil && objcopy -R .note.gnu.build-id evil huge.debug"
                               " && objcopy --add-gnu-debuglink=huge.debug evil && truncate -s 1T huge.debug";
  REQUIRE(run_program(commands).exit_code == 0);
  const auto ran = memdiff(recorded.snapshot().string());
  CAPTURE(ran.output);
  CHECK(ran.exit_code == kDone);
  CHECK(ran.output.find("huge.debug is too large") != std::string::npos);
}

TEST_CASE("a snapshot that unfolds without end, or says that it does, is refused in bounded memory") {
  const TempDir dir;
  const std::string file = dir.path() / "bomb.snap";
  const std::string zeros(256 << 20, '\0');
  const auto bomb = compress(zeros);
  for (const std::uint64_t said :
       {std::uint64_t{1000}, std::uint64_t{256} << 20, std::uint64_t{1} << 31, std::uint64_t{1} << 62}) {
    for (const std::uint64_t records : {std::uint64_t{1}, std::uint64_t{1} << 60}) {
      const container::Totals totals{.message_bytes = said,
                                     .records = records,
                                     .samples = records,
                                     .locations = records,
                                     .modules = records};
      put(file, text_of(join({head_frame(said), bomb, tail_frame(totals)})));
      const auto ran = memdiff(file);
      CAPTURE(said, records, ran.output);
      CHECK(ran.exit_code == kRefused);
      CHECK(ran.output.find("bomb.snap") != std::string::npos);
    }
  }
}

TEST_CASE("sums that overflow are no undefined business") {
  const TempDir dir;
  for (const bool newer : {false, true}) {
    SnapshotBuilder builder;
    const auto module = builder.add_module({.start = 0x1000, .end = 0x9000, .path = "/srv/payments"});
    const auto stack = builder.add_stack({builder.add_location(0x1234, module)});
    for (std::uint64_t i = 0; i < 8; ++i) {
      builder.add_record({.sample_number = i + 10 * newer,
                          .address = 4096 * i + newer,
                          .size_bytes = (std::uint64_t{1} << (63 - newer)) - i,
                          .birth_ns = INT64_MAX,
                          .stack = stack});
    }
    builder.stack(stack).allocated_bytes = builder.stack(stack).live_bytes = INT64_MAX;
    builder.header().monotonic_ns = newer ? INT64_MAX : INT64_MIN;
    builder.header().rss_bytes = UINT64_MAX;
    builder.header().realtime_ns = newer ? INT64_MAX : INT64_MIN;
    builder.write(dir.path() / (newer ? "b.snap" : "a.snap"));
  }
  const std::string a = dir.path() / "a.snap";
  const std::string b = dir.path() / "b.snap";
  for (const std::string& files : {a, a + " " + b, b + " " + a}) {
    for (const char* form : {"text", "tracemalloc", "json"}) {
      const auto ran = memdiff("-F " + std::string(form) + " " + files);
      CAPTURE(files, form, ran.output);
      CHECK((ran.exit_code == kDone || ran.exit_code == kRefused));
      CHECK_FALSE(ran.output.empty());
    }
  }
}

// A child that has ended and that nobody has waited for.
class Zombie {
 public:
  Zombie() : pid_(fork()) {
    if (pid_ == 0) _exit(0);
    siginfo_t info{};
    waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
  }
  ~Zombie() { waitpid(pid_, nullptr, 0); }
  Zombie(const Zombie&) = delete;
  Zombie& operator=(const Zombie&) = delete;
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

TEST_CASE("memtrace snap signals nobody who is not ready, and tells why") {
  const Zombie zombie;
  const auto zombies = memtrace_command("snap " + std::to_string(zombie.pid()));
  CHECK(zombies.exit_code == 1);
  CHECK(zombies.output.find("zombie") != std::string::npos);

  Preloaded bare("steady_host");
  bare.without_shim().start();
  CHECK(bare.read_line() == "ready");
  const auto untraced = memtrace_command("snap " + std::to_string(bare.pid()));
  CHECK(untraced.exit_code == 1);
  CHECK(untraced.output.find("not loaded") != std::string::npos);
  CHECK(bare.finish().exit_code == 5);

  Preloaded traced("steady_host");
  traced.start();
  CHECK(traced.read_line() == "ready");
  if (geteuid() == 0) {  // as somebody who may not even look
    const auto foreign = bounded("setpriv --reuid 65534 --regid 65534 --clear-groups " MEMTRACE_BUILD_DIR
                                 "/analyzer/memtrace snap " +
                                 std::to_string(traced.pid()));
    CAPTURE(foreign.output);
    CHECK(foreign.exit_code != kDone);
  }
  CHECK(traced.finish().exit_code == 5);
  CHECK(traced.snapshot_files().empty());
}

TEST_CASE("memtrace snap as root writes nothing where the process may not") {
  if (geteuid() != 0) return;
  const TempDir dir;
  const fs::path groups = dir.path() / "root-group";
  fs::create_directory(groups);
  REQUIRE(chmod(dir.path().c_str(), 0755) == 0);
  REQUIRE(chmod(groups.c_str(), 0775) == 0);
  Preloaded victim("steady_host");
  victim.set("MEMTRACE_DIR", groups).in_child([] {
    if (setgroups(0, nullptr) != 0 || setgid(65534) != 0 || setuid(65534) != 0) _exit(125);
  });
  victim.start();
  CHECK(victim.read_line() == "ready");
  const auto ran =
      bounded("setpriv --groups 0 " MEMTRACE_BUILD_DIR "/analyzer/memtrace snap --timeout 1 --label l " +
              std::to_string(victim.pid()));
  CAPTURE(ran.output);
  CHECK(ran.exit_code == 1);
  CHECK(ran.output.find("the label cannot be left") != std::string::npos);
  CHECK(fs::is_empty(groups));
  CHECK(victim.finish().exit_code == 5);
}

TEST_CASE("the path of a snapshot drives no terminal") {
  Preloaded victim("steady_host");
  const fs::path dir = victim.dir() / "dir\033[2J\n";
  victim.set("MEMTRACE_DIR", dir).start();
  CHECK(victim.read_line() == "ready");
  const std::string command = "snap " + std::to_string(victim.pid());
  // A script gets the path as it is, a terminal what can be shown of it.
  const auto piped = memtrace_command(command);
  CHECK(piped.exit_code == kDone);
  CHECK(piped.output.rfind(dir.string(), 0) == 0);
  const auto shown = run_program("script -qec '" MEMTRACE_BUILD_DIR "/analyzer/memtrace " + command +
                                 "' /dev/null </dev/null");
  CAPTURE(shown.output);
  CHECK(shown.exit_code == kDone);
  CHECK(shown.output.find('\033') == std::string::npos);
  CHECK(shown.output.find("dir\\x1b[2J") != std::string::npos);
  CHECK(victim.finish().exit_code == 5);
}

}  // namespace
}  // namespace memtrace::test
