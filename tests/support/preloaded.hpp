// A victim under the shim: started in a directory of its own, talked to over pipes, its snapshots read.
//
//   Preloaded victim("exact_heap");             // build/tests/programs/exact_heap
//   victim.set("MEMTRACE_SAMPLE", "all").start();
//   CHECK(victim.read_line() == "ready");
//   const Ending ending = victim.finish();      // closes its stdin, reads to the end, waits
//   const Snapshot first = victim.snapshot(0);
//
// Nothing waits without bound: a victim that is silent for kPatience is killed and the test fails.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "format/snapshot.hpp"
#include "tests/support/temp_dir.hpp"

namespace memtrace::test {

[[nodiscard]] std::filesystem::path shim_path();
[[nodiscard]] std::filesystem::path program_path(const std::string& name);

struct Ending {
  int exit_code = -1;  // -1: died of `signal`
  int signal = 0;
  std::string out;  // what read_line() did not take
  std::string err;
};

class Preloaded {
 public:
  static constexpr std::chrono::seconds kPatience{60};

  explicit Preloaded(const std::string& program, std::vector<std::string> arguments = {});
  ~Preloaded();
  Preloaded(const Preloaded&) = delete;
  Preloaded& operator=(const Preloaded&) = delete;

  // Before start(). The environment holds PATH, LD_PRELOAD, MEMTRACE_DIR and what is set here, in this order.
  Preloaded& set(const std::string& name, const std::string& value);
  Preloaded& unset(const std::string& name);
  Preloaded& exact() { return set("MEMTRACE_SAMPLE", "all"); }
  Preloaded& without_shim() { return unset("LD_PRELOAD"); }
  Preloaded& in_child(std::function<void()> before_exec);  // async-signal-safe calls only

  void start();
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] std::string read_line();  // without its newline; fails the test at the end of the output
  void tell(const std::string& line);     // appends the newline
  void kill(int signal) const;
  [[nodiscard]] std::string errors() const;  // what it wrote to its stderr so far
  Ending finish();
  Ending run() {
    start();
    return finish();
  }

  [[nodiscard]] const std::filesystem::path& dir() const { return dir_.path(); }  // MEMTRACE_DIR, and its cwd
  [[nodiscard]] std::vector<std::filesystem::path> snapshot_files() const;        // in order of their names
  // Until there are `count`; no file is ever there in part.
  std::vector<std::filesystem::path> wait_for_snapshots(std::size_t count) const;
  [[nodiscard]] Snapshot snapshot(std::size_t index) const;

 private:
  bool fill();
  [[noreturn]] void give_up(const std::string& why);

  TempDir dir_;
  TempDir errors_;
  std::filesystem::path program_;
  std::vector<std::string> arguments_;
  std::vector<std::pair<std::string, std::string>> environment_;
  std::vector<std::function<void()>> before_exec_;
  pid_t pid_ = -1;
  int to_victim_ = -1;
  int from_victim_ = -1;
  std::string pending_;
};

[[nodiscard]] Snapshot read_or_fail(const std::filesystem::path& file);

// What a call site holds.
struct Held {
  std::int64_t bytes = 0;
  std::int64_t count = 0;
  friend bool operator==(const Held&, const Held&) = default;
};
using Sites = std::map<std::string, Held>;
std::ostream& operator<<(std::ostream& out, const Held& held);

struct Place {
  std::string function;  // without arguments
  std::string file;      // base name
  std::uint32_t line = 0;
  std::string module;  // base name
  friend bool operator==(const Place&, const Place&) = default;
};

// The frames of one stack, innermost first, inlined ones expanded.
[[nodiscard]] std::vector<Place> stack_of(const Snapshot& snapshot, const Record& record);
// Live heap and mmap records by the innermost function of the program's own code; without those of main and
// of other modules' own making (the loader's, the libc's).
[[nodiscard]] Sites sites_of(const Snapshot& snapshot);
// What a victim said in report() of tests/programs/victims/truth.h: sites that hold nothing are left out.
struct Report {
  Sites truth;
  std::filesystem::path file;
};
[[nodiscard]] std::vector<Report> reports_in(const std::string& output);

// Where the two differ, for people; "" where they do not.
[[nodiscard]] std::string difference(const Sites& found, const Sites& truth);
[[nodiscard]] Sites minus(const Sites& after, const Sites& before);

struct Ran {
  int exit_code = -1;
  std::string out;
};
// memdiff itself, its stderr left alone.
[[nodiscard]] Ran run_memdiff(const std::vector<std::string>& arguments);
// The growth of the same sites, out of memdiff's JSON.
[[nodiscard]] Sites growth_by_memdiff(const std::filesystem::path& before, const std::filesystem::path& after,
                                      const std::string& module);

}  // namespace memtrace::test
