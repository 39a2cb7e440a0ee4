// Would break: scripts around memdiff (exit codes, streams), and people with a wrong file in their hands.
#include <sys/stat.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "format/fields.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/fake_process.hpp"
#include "tests/support/message_bytes.hpp"
#include "tests/support/snapshot_builder.hpp"
#include "tests/support/temp_dir.hpp"

using namespace memtrace;
using memtrace::test::FakeProcess;

namespace {

std::string slurp(const std::filesystem::path& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

void spit(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

struct Outcome {
  int status = -1;  // exit status, or 1000 + signal
  std::string out;
  std::string err;
};

// A directory with a.snap and b.snap of one process, and c.snap of another.
class Room {
 public:
  Room() {
    const auto put = process_.stack({{"f", "a.cc", 1, false}});
    process_.allocate(put, 100);
    save("a.snap", process_.snapshot_at(10));
    process_.allocate(put, 4000, 15);
    save("b.snap", process_.snapshot_at(20));
    FakeProcess other;
    other.header.session.bytes[0] = 9;
    other.allocate(other.stack({{"f", "a.cc", 1, false}}), 300);
    save("c.snap", other.snapshot_at(15));
  }

  void save(const std::string& name, const Snapshot& snapshot) {
    const auto bytes = test::write_snapshot(snapshot);
    spit(path(name), {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  [[nodiscard]] std::filesystem::path path(const std::string& name) const { return dir_.path() / name; }

  // `arguments` go through a shell, in the directory of the snapshots.
  Outcome memdiff(const std::string& arguments, const std::string& before = "",
                  const std::string& after = "") const {
    const std::string command = "cd " + dir_.path().string() + " && " + before + " " MEMTRACE_MEMDIFF " " +
                                arguments + " >out.txt 2>err.txt " + after;
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status), slurp(path("out.txt")),
            slurp(path("err.txt"))};
  }

 private:
  test::TempDir dir_;
  FakeProcess process_;
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a diff, a live report and the other forms succeed quietly") {
  const Room room;
  const auto arguments =
      GENERATE(as<std::string>{}, "a.snap b.snap", "a.snap", "-F tracemalloc -s abs a.snap b.snap",
               "-F json -n 0 a.snap b.snap", "-g function --cumulative a.snap b.snap",
               "-q --frames 0 -v --min 1KiB --growth-only a.snap b.snap");
  const Outcome outcome = room.memdiff(arguments);
  CAPTURE(arguments, outcome.err);
  CHECK(outcome.status == 0);
  CHECK(outcome.err.empty());
  CHECK_FALSE(outcome.out.empty());
}

TEST_CASE("help and version go to stdout") {
  const Room room;
  const Outcome help = room.memdiff("--help");
  CHECK(help.status == 0);
  CHECK(help.err.empty());
  for (const char* option :
       {"--group-by", "--cumulative", "--no-skip-wrappers", "--sysroot", "--debug-path", "--frames",
        "--focus", "--ignore", "--growth-only", "--no-debuginfod", "--no-progress", "--color"}) {
    CAPTURE(option);
    CHECK(contains(help.out, option));
  }
  const Outcome version = room.memdiff("-V");
  CHECK(version.status == 0);
  CHECK(version.out.rfind("memdiff ", 0) == 0);
}

TEST_CASE("wrong usage ends with status 2 and names what is wrong") {
  const Room room;
  struct Case {
    std::string arguments;
    std::string said;
  };
  const Case c = GENERATE(
      Case{"", "no snapshot given"}, Case{"a.snap b.snap c.snap", "more than two"},
      Case{"--group a.snap b.snap", "--group"}, Case{"-g line a.snap", "'line' is not one of"},
      Case{"-s x a.snap", "'x' is not one of"}, Case{"-F xml a.snap", "'xml' is not one of"},
      Case{"--min 5x a.snap", "'5x' is not a size"}, Case{"-n -1 a.snap", "-1"},
      Case{"--cumulative a.snap", "--cumulative needs"}, Case{"-f a.snap", "-o FILE"},
      Case{"--focus '(' a.snap", "--focus '('"}, Case{"--ignore 'a{9' a.snap", "--ignore 'a{9'"},
      Case{"--no-such-option missing.snap", "no such option: --no-such-option\n"},
      Case{"-n abc a.snap", "--top: 'abc' is not a whole number"},
      Case{"-n '' a.snap", "--top: '' is not a whole number"},
      Case{"-n 99999999999999999999 a.snap", "--top: '99999999999999999999' is not"},
      Case{"--frames 1e3 a.snap", "--frames: '1e3' is not a whole number"},
      Case{"-g '' a.snap", "--group-by: '' is not one of"},
      Case{"--min 1X a.snap", "--min: '1X' is not a size"}, Case{"a.snap -o", "--output needs a value"},
      Case{"-o '' a.snap", "--output: the file's name is empty"},
      Case{"a.snap ''", "name of a snapshot is empty"},
      Case{"--sysroot no/where a.snap", "--sysroot no/where: no such directory"},
      Case{"--debug-path no/where a.snap", "--debug-path no/where: no such directory"});
  const Outcome outcome = room.memdiff(c.arguments);
  CAPTURE(c.arguments, outcome.err);
  CHECK(outcome.status == 2);
  CHECK(outcome.out.empty());
  CHECK(contains(outcome.err, c.said));
  CHECK_FALSE(contains(outcome.err, "missing.snap: "));
  CHECK(outcome.err.size() < 200);
}

TEST_CASE("an option that is given again counts as given last") {
  const Room room;
  CHECK(room.memdiff("-q -n 0 --frames 5 -g module -n 1 -g lineno a.snap b.snap").out ==
        room.memdiff("-q -n 1 --frames 5 -g lineno a.snap b.snap").out);
}

TEST_CASE("the exit status is right when nobody can be told why") {
  const Room room;
  const std::string program = "cd " + room.path("").string() + " && " MEMTRACE_MEMDIFF " ";
  const std::string arguments = GENERATE(as<std::string>{}, "missing.snap", "--no-such-option");
  CHECK(WEXITSTATUS(std::system((program + arguments + " 2>&-").c_str())) == 2);
  CHECK(WEXITSTATUS(std::system((program + arguments + " 2>/dev/full").c_str())) == 2);
  CHECK(WEXITSTATUS(std::system((program + "--help >/dev/full 2>help.txt").c_str())) == 2);
  CHECK(contains(slurp(room.path("help.txt")), "No space left"));
}

TEST_CASE("files that are no snapshot end with status 2 and one line that names the file") {
  const Room room;
  const std::string whole = slurp(room.path("a.snap"));
  std::filesystem::create_directory(room.path("dir.snap"));
  spit(room.path("empty.snap"), "");
  spit(room.path("text.snap"), "heaptrack 1.4\n");
  spit(room.path("elf.snap"), slurp("/proc/self/exe").substr(0, 5000));
  spit(room.path("half.snap"), whole.substr(0, whole.size() / 2));
  spit(room.path("tail.snap"), whole.substr(0, whole.size() - 3));
  const std::string file = GENERATE(as<std::string>{}, "missing.snap", "dir.snap", "empty.snap", "text.snap",
                                    "elf.snap", "half.snap", "tail.snap", "/dev/null");
  const bool first = GENERATE(true, false);
  const Outcome outcome = room.memdiff(first ? file + " b.snap" : "a.snap " + file);
  CAPTURE(file, outcome.err);
  CHECK(outcome.status == 2);
  CHECK(outcome.out.empty());
  CHECK(outcome.err.rfind("memdiff: " + file + ": ", 0) == 0);
  CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
}

TEST_CASE("damaged bytes never crash it") {
  const Room room;
  const std::string whole = slurp(room.path("a.snap"));
  for (std::size_t i = 0; i < whole.size(); i += 7) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x55);
    spit(room.path("d.snap"), damaged);
    const Outcome outcome = room.memdiff("d.snap b.snap");
    CAPTURE(i, outcome.err);
    REQUIRE((outcome.status == 0 || outcome.status == 2));
  }
}

TEST_CASE("pairs that make no sense are warned about") {
  Room room;
  CHECK(contains(room.memdiff("b.snap a.snap").out, "warning: the snapshots were given newest first"));
  CHECK(contains(room.memdiff("a.snap a.snap").out, "warning: OLD and NEW are the same snapshot"));
  CHECK(contains(room.memdiff("a.snap c.snap").out, "nothing cancels"));
  const Outcome lines = room.memdiff("-F tracemalloc -s abs a.snap c.snap");
  CHECK(contains(lines.err, "nothing cancels"));
  CHECK_FALSE(contains(lines.out, "warning"));
}

TEST_CASE("a newer format version is read with a warning") {
  const Room room;
  const std::uint32_t newer = kFormatVersion + 1;
  test::MessageBytes message(test::message_of(test::bytes_of(slurp(room.path("a.snap")))));
  message.number(fields::kFormatVersion, newer);  // the last of a repeated singular field counts
  const auto size = message.bytes().size();
  const container::Totals totals{
      .message_bytes = size, .records = 1, .samples = 1, .locations = 1, .modules = 1};
  const auto file = test::join({test::head_frame(size, newer), test::compress(test::text_of(message.bytes())),
                                test::tail_frame(totals, newer)});
  spit(room.path("newer.snap"), std::string(test::text_of(file)));
  const Outcome outcome = room.memdiff("newer.snap");
  CAPTURE(outcome.err);
  CHECK(outcome.status == 0);
  CHECK(contains(outcome.out, "warning: newer.snap: was written by a newer memtrace"));
}

TEST_CASE("names in a hostile snapshot drive no terminal and add no lines") {
  const std::string evil = "\033[2Jx\r\n\x7f\xc2\x9b";
  FakeProcess process;
  process.header.exe = "/srv/" + evil;
  process.header.host = evil;
  process.header.label = evil;
  process.header.threads[0] = {.tid = 7, .name = evil};
  process.module_path = "/srv/" + evil;
  process.allocate(process.stack({{"f", "a.cc", 1, false}}), 100);
  Room room;
  room.save("a.snap", process.snapshot_at(10));
  process.header.session.bytes[0] = 9;
  room.save(evil + "evil.snap", process.snapshot_at(20));
  const auto arguments = GENERATE(as<std::string>{}, "", "-g thread", "-g module", "-g function",
                                  "-F tracemalloc", "-v --frames 0", "-F json");
  const Outcome outcome = room.memdiff(arguments + " a.snap *evil.snap");
  CAPTURE(arguments, outcome.out, outcome.err);
  CHECK(outcome.status == 0);
  for (const std::string& text : {outcome.out, outcome.err}) {
    for (const char* bad : {"\033", "\r", "\x7f", "\xc2\x9b"}) {
      const bool legal_in_json = *bad != '\033' && *bad != '\r';
      if (arguments != "-F json" || !legal_in_json) CHECK_FALSE(contains(text, bad));
    }
  }
  if (arguments.empty()) CHECK(contains(outcome.out, "x\\x0d\\x0a\\x7f\\xc2\\x9b"));
}

TEST_CASE("the name of a refused file drives no terminal") {
  const Room room;
  spit(room.path("\033[2J.hurt.snap"), "text");
  const Outcome outcome = room.memdiff("*.hurt.snap");
  CHECK(outcome.status == 2);
  CHECK(contains(outcome.err, "memdiff: \\x1b[2J.hurt.snap: is text"));
}

TEST_CASE("-o writes the report, refuses to overwrite, and obeys -f") {
  const Room room;
  CHECK(room.memdiff("-o report.txt a.snap b.snap").status == 0);
  const std::string report = slurp(room.path("report.txt"));
  CHECK(contains(report, "#1  "));
  CHECK_FALSE(contains(report, "\033"));
  spit(room.path("report.txt"), "mine");
  const Outcome refused = room.memdiff("-o report.txt a.snap b.snap");
  CHECK(refused.status == 2);
  CHECK(contains(refused.err, "report.txt: exists already"));
  CHECK(slurp(room.path("report.txt")) == "mine");
  CHECK(room.memdiff("-f -o report.txt a.snap b.snap").status == 0);
  CHECK(slurp(room.path("report.txt")) == report);
  // What is overwritten keeps its mode, and a link to it stays one.
  std::filesystem::create_symlink("report.txt", room.path("link.txt"));
  std::filesystem::permissions(room.path("report.txt"), std::filesystem::perms{0600});
  CHECK(room.memdiff("-f -o link.txt b.snap").status == 0);
  CHECK(std::filesystem::is_symlink(room.path("link.txt")));
  CHECK(std::filesystem::status(room.path("report.txt")).permissions() == std::filesystem::perms{0600});
  CHECK(slurp(room.path("report.txt")) != report);
  const Outcome nowhere = room.memdiff("-o no/such/report.txt a.snap b.snap");
  CHECK(nowhere.status == 2);
  CHECK(contains(nowhere.err, "no/such/report.txt: cannot write: "));
  CHECK(room.memdiff("-o /dev/null a.snap b.snap").status == 0);
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(room.path("."))) {
    if (contains(entry.path().string(), "report.txt")) ++files;
  }
  CHECK(files == 1);
}

TEST_CASE("a report larger than ulimit -f allows is refused like one on a full disk, and leaves nothing") {
  const Room room;
  REQUIRE(room.memdiff("-o whole.txt -F json a.snap b.snap").status == 0);
  REQUIRE(slurp(room.path("whole.txt")).size() > 512);
  const Outcome outcome = room.memdiff("-o cut.txt -F json a.snap b.snap", "ulimit -f 1 &&");
  CHECK(contains(outcome.err, "cut.txt: cannot write: File too large"));
  CHECK_FALSE(std::filesystem::exists(room.path("cut.txt")));
  CHECK(outcome.status == 2);
}

TEST_CASE("-o does not take a snapshot's place, even with -f") {
  const Room room;
  const std::string before = slurp(room.path("b.snap"));
  const std::string place = GENERATE(as<std::string>{}, "b.snap", "./b.snap", "link");
  std::filesystem::create_symlink("b.snap", room.path("link"));
  const Outcome outcome = room.memdiff("-f -o " + place + " a.snap b.snap");
  CHECK(outcome.status == 2);
  CHECK(contains(outcome.err, "is one of the snapshots"));
  CHECK(slurp(room.path("b.snap")) == before);
}

TEST_CASE("colour is for terminals that can show it") {
  const Room room;
  const auto on_terminal = [&](const std::string& environment) {
    const std::string command = "cd " + room.path("").string() + " && env -u NO_COLOR " + environment +
                                " script -qec '" MEMTRACE_MEMDIFF " a.snap' /dev/null >screen.txt </dev/null";
    REQUIRE(std::system(command.c_str()) == 0);
    return slurp(room.path("screen.txt"));
  };
  CHECK(contains(on_terminal("TERM=xterm"), "\033["));
  CHECK_FALSE(contains(on_terminal("TERM=dumb"), "\033["));
  CHECK_FALSE(contains(on_terminal("-u TERM"), "\033["));
  CHECK_FALSE(contains(on_terminal("TERM=xterm NO_COLOR=1"), "\033["));
}

TEST_CASE("colour is for terminals, or on demand") {
  const Room room;
  CHECK_FALSE(contains(room.memdiff("a.snap b.snap").out, "\033["));
  CHECK(contains(room.memdiff("--color always a.snap b.snap").out, "\033["));
  CHECK_FALSE(contains(room.memdiff("--color never a.snap b.snap").out, "\033["));
}

TEST_CASE("a reader that goes away is no error, a full disk is") {
  const Room room;
  const Outcome pipe = room.memdiff("-F json -n 0 a.snap b.snap", "(", " ; echo $? >status.txt) | true");
  CHECK(pipe.err.empty());
  if (std::filesystem::exists("/dev/full")) {
    const std::string command =
        "cd " + room.path("").string() + " && " MEMTRACE_MEMDIFF " a.snap b.snap >/dev/full 2>full.txt";
    CHECK(WEXITSTATUS(std::system(command.c_str())) == 2);
    CHECK(contains(slurp(room.path("full.txt")), "No space left"));
  }
}

TEST_CASE("a crash of its own ends with status 3 and a stack") {
  const Room room;
  // Stopped before it reads the pipe, so that the signal finds it alive.
  mkfifo(room.path("pipe.snap").c_str(), 0600);
  const std::string command = "cd " + room.path("").string() +
                              " && { " MEMTRACE_MEMDIFF
                              " pipe.snap 2>err.txt & p=$!; exec 3>pipe.snap; kill -SEGV $p; "
                              "wait $p; }";
  CHECK(WEXITSTATUS(std::system(command.c_str())) == 3);
  const std::string err = slurp(room.path("err.txt"));
  CAPTURE(err);
  CHECK(contains(err, "memdiff: internal error: segmentation fault"));
  CHECK(contains(err, "  #0 "));
}
