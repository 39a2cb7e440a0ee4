// What would break: stacks that are not the stacks. Every frame of the compiled unwinder is held against
// libunwind's and Boost's, in programs of all kinds; each difference is explained here, or fails.
#include <algorithm>
#include <fstream>
#include <sstream>

#include "tests/support/catch.hpp"
#include "tests/support/frame_rows.hpp"
#include "tests/support/preloaded.hpp"
#include "tests/support/run_program.hpp"

namespace memtrace::test {
namespace {

namespace fs = std::filesystem;

struct Frame {
  std::string module;
  std::uint64_t offset = 0;
  bool has_rules = true;
};

struct Difference {
  std::string line;
  std::uint64_t count = 0;
  std::size_t common = 0;
  std::vector<Frame> ours;  // from the last but one that both have
};

struct Compared {
  std::string program;
  std::map<std::string, std::uint64_t> totals;
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> oracles;  // equal, different
  std::vector<Difference> differences;
};

std::vector<std::string> split(const std::string& text, char at) {
  std::istringstream in(text);
  std::vector<std::string> parts;
  for (std::string part; std::getline(in, part, at);) parts.push_back(part);
  return parts;
}

std::vector<Frame> frames_in(const std::string& field) {
  std::vector<Frame> frames;
  for (const std::string& word : split(field.substr(field.find(' ') + 1), ' ')) {
    const std::size_t plus = word.rfind("+0x");
    if (plus == std::string::npos) continue;
    frames.push_back(
        {word.substr(0, plus), std::stoull(word.substr(plus + 1), nullptr, 16), word.back() != '!'});
  }
  return frames;
}

Compared read_compared(const fs::path& file) {
  Compared result;
  result.program = file.filename();
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    const auto fields = split(line, '\t');
    if (fields[0] == "total") result.totals[fields.at(1)] = std::stoull(fields.at(2));
    if (fields[0] == "oracle") {
      result.oracles[fields.at(1)] = {std::stoull(fields.at(2)), std::stoull(fields.at(3))};
    }
    if (fields[0] == "difference") {
      result.differences.push_back(
          {line, std::stoull(fields.at(3)), std::stoull(fields.at(4)), frames_in(fields.at(5))});
    }
  }
  return result;
}

// A program under libcompare_unwinders.so.
struct Comparison : Preloaded {
  explicit Comparison(const std::string& program, std::vector<std::string> arguments = {}, unsigned every = 1)
      : Preloaded(
            program.find('/') == std::string::npos ? program_path("unwinding/" + program).string() : program,
            std::move(arguments)) {
    set("LD_PRELOAD", MEMTRACE_COMPARE).unset("MEMTRACE_DIR");
    set("COMPARE_DIR", dir()).set("COMPARE_EVERY", std::to_string(every));
  }

  // Of the processes whose names begin so: all of them exited.
  [[nodiscard]] std::vector<Compared> results(const std::string& name) const {
    std::vector<Compared> found;
    for (const auto& entry : fs::directory_iterator(dir())) {
      if (entry.path().filename().string().rfind(name + ".", 0) == 0 &&
          entry.path().extension() == ".compared") {
        found.push_back(read_compared(entry.path()));
      }
    }
    return found;
  }
  [[nodiscard]] Compared result(const std::string& name) const {
    const auto found = results(name);
    REQUIRE(found.size() == 1);
    return found[0];
  }
  Compared run_alone(const std::string& name) {
    const Ending ending = run();
    CAPTURE(ending.err, ending.out);
    CHECK(ending.exit_code == 0);
    return result(name);
  }
};

void check_equal(const Compared& compared, std::uint64_t least_stacks) {
  CAPTURE(compared.program);
  CHECK(compared.totals.at("stacks") >= least_stacks);
  CHECK(compared.totals.at("lost") == 0);
  for (const auto& [oracle, counts] : compared.oracles) {
    CAPTURE(oracle);
    CHECK(counts.first == compared.totals.at("stacks"));
    CHECK(counts.second == 0);
  }
  CHECK(compared.oracles.size() == 2);
  for (const Difference& difference : compared.differences) FAIL_CHECK(difference.line);
}

// The rows of a module that frames lie in.
class RowsOf {
 public:
  explicit RowsOf(fs::path program) : program_(std::move(program)) {}

  // Whether the frame at this address, where a call returns to or an instruction that was interrupted, is
  // found by a register that rules do not know.
  [[nodiscard]] bool needs_another_register(const Frame& frame) {
    if (frame.module == "-" || frame.module.find("vdso") != std::string::npos) return false;
    const std::string path = frame.module == "program" ? program_.string() : frame.module;
    auto& rows = by_path_[path];
    if (rows.empty()) rows = frame_rows(path);
    for (const std::uint64_t address : {frame.offset - 1, frame.offset}) {
      const auto after =
          std::upper_bound(rows.begin(), rows.end(), address,
                           [](std::uint64_t at, const FrameRow& row) { return at < row.begin; });
      if (after == rows.begin() || std::prev(after)->end <= address) continue;
      const FrameRow& row = *std::prev(after);
      const std::string base = row.cfa.substr(0, row.cfa.find_first_of("+-"));
      if (base != "rsp" && base != "rbp" && base != "exp") return true;
      if (row.return_address[0] == 'r') return true;
    }
    return false;
  }

 private:
  fs::path program_;
  std::map<std::string, std::vector<FrameRow>> by_path_;
};

// Rules know rsp, rbp and a return address in memory. Where a frame is found by another register (the
// loader's resolver: rbx; the prologue of a realigned and grown frame: r10; longjmp and libgcc's way into a
// handler: rdi, rcx) ours has to guess. Code that a signal interrupted there, or that the resolver calls, is
// all that can meet it: for a frame that calls, a register that calls may change is useless.
bool found_by_another_register(const Difference& difference, RowsOf& rows) {
  // A guess may be right about its first frame and wrong about the second.
  for (std::size_t i = 0; i < std::min<std::size_t>(2, difference.common); ++i) {
    if (i < difference.ours.size() && rows.needs_another_register(difference.ours[i])) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("frames of every shape, with and without frame pointers, from -O0 to -O3") {
  const std::string flags = GENERATE("O0", "O0_bare", "O3", "O3_fp", "Os", "large");
  const std::string program = "stack_shapes_" + flags;
  check_equal(Comparison(program).run_alone(program), 900);
}

TEST_CASE("recursion of a hundred thousand frames: as many as there is room for") {
  const std::string program = GENERATE("stack_shapes_O0", "stack_shapes_O3");
  const Compared compared = Comparison(program, {"deep", "100000"}).run_alone(program);
  check_equal(compared, 8);
  CHECK(compared.totals.at("deepest") == 256);
}

TEST_CASE("an exception through five libraries, allocating on its way") {
  check_equal(Comparison("throws").run_alone("throws"), 1000);
}

TEST_CASE("handlers on the normal stack and on alternate ones, nested") {
  check_equal(Comparison("signal_stacks").run_alone("signal_stacks"), 200);
}

TEST_CASE("coroutines on small stacks that come and go") {
  check_equal(Comparison("coroutines").run_alone("coroutines"), 1000);
}

TEST_CASE("threads on stacks of libc's and of their own, cancelled ones too") {
  check_equal(Comparison("stack_threads").run_alone("stack_threads"), 500);
}

TEST_CASE("every instruction of libc, allocator, vDSO, lazy binding, exceptions and odd frames") {
  const std::string program = GENERATE("single_steps", "single_steps_cet");
  const std::string part =
      GENERATE("libc", "allocator", "clocks", "binding", "exceptions", "shapes", "contexts");
  CAPTURE(part);
  Comparison victim(program, {part}, part == "exceptions" ? 5 : 1);
  victim.set("COMPARE_CALLS", "1");
  const Compared compared = victim.run_alone(program);
  CHECK(compared.totals.at("stacks") > 30);
  CHECK(compared.totals.at("lost") == 0);
  RowsOf rows(program_path("unwinding/" + program));
  for (const Difference& difference : compared.differences) {
    if (!found_by_another_register(difference, rows)) FAIL_CHECK(difference.line);
  }
  // The rest is most of it, or would have been explained away.
  for (const auto& [oracle, counts] : compared.oracles) CHECK(counts.first > 100);
}

TEST_CASE("single steps, everything bound at once: only a few instructions differ") {
  const std::string part = GENERATE("libc", "allocator", "clocks", "binding", "exceptions");
  CAPTURE(part);
  Comparison victim("single_steps", {part}, part == "exceptions" ? 5 : 1);
  victim.set("COMPARE_CALLS", "1").set("LD_BIND_NOW", "1");
  const Compared compared = victim.run_alone("single_steps");
  RowsOf rows(program_path("unwinding/single_steps"));
  for (const Difference& difference : compared.differences) {
    CAPTURE(difference.line);
    CHECK(part == "exceptions");
    // Three instructions of each function that returns by __builtin_eh_return.
    CHECK(difference.ours.at(difference.common == 1 ? 0 : 1).module.find("libgcc_s") != std::string::npos);
    CHECK(found_by_another_register(difference, rows));
  }
}

TEST_CASE("python3") {
  Comparison victim("/usr/bin/python3",
                    {"-c",
                     "import json\n"
                     "d={str(i):[i,str(i)*3,{'a':i*1.5,'b':[None,True]}] for i in range(9000)}\n"
                     "assert json.loads(json.dumps(d))==d\n"
                     "import re,decimal,threading\n"
                     "t=[threading.Thread(target=json.dumps,args=(d,)) for _ in range(3)]\n"
                     "[x.start() for x in t]; [x.join() for x in t]"},
                    37);
  victim.set("PYTHONMALLOC", "malloc");
  check_equal(victim.run_alone("python3"), 5000);
}

TEST_CASE("cc1plus") {
  Comparison victim(MEMTRACE_CXX, {"-c", "-x", "c++", "-o", "out.o", "-"}, 37);
  victim.start();
  victim.tell(
      "#include <map>\n#include <regex>\n#include <string>\nint main() { return std::regex(\"a+\").flags(); "
      "}");
  const Ending ending = victim.finish();
  CAPTURE(ending.err);
  CHECK(ending.exit_code == 0);
  const auto compilers = victim.results("cc1plus");
  if (compilers.empty() && std::string(MEMTRACE_CXX).find("clang") != std::string::npos) return;
  REQUIRE(compilers.size() == 1);
  check_equal(compilers[0], 10000);
}

TEST_CASE("sqlite3, where it is installed") {
  if (!fs::exists("/usr/bin/sqlite3")) return;
  Comparison victim(
      "/usr/bin/sqlite3",
      {":memory:",
       "create table t(a,b); with recursive c(x) as (select 1 union all select x+1 from c where x<9000) "
       "insert into t select x, hex(randomblob(20)) from c; create index i on t(b); "
       "select count(*), max(b) from t group by a%7;"},
      11);
  check_equal(victim.run_alone("sqlite3"), 1000);
}

TEST_CASE("redis-server, where it is installed") {
  if (!fs::exists("/usr/bin/redis-server") || !fs::exists("/usr/bin/redis-cli")) return;
  Comparison server("/usr/bin/redis-server",
                    {"--port", "0", "--unixsocket", "redis.sock", "--save", "", "--daemonize", "no"}, 7);
  server.start();
  while (server.read_line().find("eady to accept") == std::string::npos) {
  }
  const auto redis = [&](const std::string& command) {
    return run_program("redis-cli -s " + (server.dir() / "redis.sock").string() + " " + command).output;
  };
  redis(
      "eval \"for i=1,3000 do redis.call('set','k'..i,string.rep('x',i)); redis.call('zadd','z',i,'m'..i); "
      "redis.call('hset','h'..(i%20),i,i) end return 1\" 0");
  redis("sort z by nosort get k*");
  redis("config set maxmemory 100mb");
  CHECK(redis("dbsize").rfind("3021", 0) == 0);
  redis("shutdown nosave");
  CHECK(server.finish().exit_code == 0);
  check_equal(server.result("redis-server"), 1000);
}

}  // namespace memtrace::test
