// What would break: what a program can load, and what it sees by name, would not be what it was: run paths,
// plugins bound to themselves, namespaces, a malloc or a compressor of the program's own, weak references.
#include <algorithm>
#include <filesystem>
#include <sstream>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/exact.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

std::string object(const std::string& name) { return program_path("objects/" + name + ".so"); }

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  std::sort(lines.begin(), lines.end());
  return lines;
}

TEST_CASE("an object finds what only its own run path leads to") {
  const Ending ending = Preloaded("run_path", {object("opener")}).exact().run();
  CHECK(ending.out == "found\n");
  CHECK(ending.err.empty());
}

TEST_CASE("blocks that a plugin frees behind our back are replaced when their addresses come again") {
  const std::string how = GENERATE("deepbind", "namespace");
  CAPTURE(how);
  Preloaded victim("foreign_heap", {how, object("own_heap")});
  check_exact(victim.exact().run(), 1);
  const Snapshot snapshot = victim.snapshot(0);
  CHECK((snapshot.self.at("replaced_records") >= 1000) == (how == "deepbind"));
}

TEST_CASE("a program with its own malloc keeps it, and is told so") {
  Preloaded victim("own_malloc");
  const Ending ending = victim.exact().run();
  check_exact(ending, 1);
  CHECK(ending.err.find("own_malloc brings its own malloc") != std::string::npos);
  CHECK(std::count(ending.err.begin(), ending.err.end(), '\n') == 1);
}

TEST_CASE("a program with its own compressor is never called for ours") {
  check_exact(Preloaded("own_zstd").exact().run(), 1);
}

TEST_CASE("a program sees no name and no object that it did not see before, but the shim") {
  const auto expected = lines_of(Preloaded("visible_names").without_shim().run().out);
  REQUIRE(expected.size() > 25);
  for (const char* unwinder : {"cfi", "boost", "libunwind"}) {
    CAPTURE(unwinder);
    const auto found =
        lines_of(Preloaded("visible_names").exact().set("MEMTRACE_UNWIND", unwinder).run().out);
    std::vector<std::string> more;
    std::vector<std::string> fewer;
    std::set_difference(found.begin(), found.end(), expected.begin(), expected.end(),
                        std::back_inserter(more));
    std::set_difference(expected.begin(), expected.end(), found.begin(), found.end(),
                        std::back_inserter(fewer));
    CHECK(fewer.empty());
    // What other unwinders are made of is loaded where it is asked for, and nobody finds a name in it.
    for (const std::string& line : more) {
      CAPTURE(line);
      const bool asked = unwinder != std::string("cfi");
      const bool ours =
          line == "object libmemtrace.so" || line == "object libpthread.so.0" || line == "object libdl.so.2";
      CHECK((ours || (asked && line.rfind("object ", 0) == 0)));
    }
  }
}

TEST_CASE("an object whose constructor waits for a thread that allocates can be opened") {
  Preloaded victim("opens_objects", {object("thread_in_constructor"), object("static_tls")});
  check_exact(victim.exact().run(), 1);
}

TEST_CASE("the shim may be opened late and closed, where thread-local storage is scarce") {
  Preloaded victim("late_shim", {shim_path(), object("static_tls")});
  const Ending ending = victim.without_shim().exact().run();
  CAPTURE(ending.err);
  CHECK(ending.signal == 0);
  CHECK(ending.exit_code == 0);
}

TEST_CASE("a program built with a sanitizer is left alone") {
  Preloaded bare("sanitized", {object("own_heap")});
  bare.without_shim().set("ASAN_OPTIONS", "verify_asan_link_order=0");
  const Ending expected = bare.run();
  Preloaded victim("sanitized", {object("own_heap")});
  victim.exact().set("ASAN_OPTIONS", "verify_asan_link_order=0").set("MEMTRACE_AT_EXIT", "1");
  const Ending ending = victim.run();
  CHECK(expected.exit_code == 0);
  CHECK(ending.exit_code == expected.exit_code);
  CHECK(ending.err == expected.err);
  CHECK(victim.snapshot_files().empty());
}

TEST_CASE("a program under valgrind is left alone") {
  if (!std::filesystem::exists("/usr/bin/valgrind")) {
    WARN("SKIP: the Debian package valgrind is not installed");
    return;
  }
  Preloaded victim("/usr/bin/valgrind", {"-q", "--tool=none", program_path("api_user")});
  victim.exact().set("MEMTRACE_AT_EXIT", "1");
  const Ending ending = victim.run();
  const Ending expected = Preloaded("api_user").without_shim().run();
  CHECK(ending.exit_code == expected.exit_code);
  CHECK(ending.out == expected.out);
  CHECK(victim.snapshot_files().empty());
}

TEST_CASE("environments are passed on to the byte") {
  const std::string program = GENERATE("/usr/bin/env", "child");
  CAPTURE(program);
  Preloaded victim("/usr/bin/env", program == "child" ? std::vector<std::string>{"/usr/bin/env"}
                                                      : std::vector<std::string>{});
  victim.exact().set("MEMTRACE_TAGS", "a=b").set("EMPTY", "").set("NOT_A_NAME ", "=x").set("LAST", "1");
  std::string expected;
  expected += "PATH=/usr/local/bin:/usr/bin:/bin\n";
  expected += "LD_PRELOAD=" + shim_path().string() + "\n";
  expected += "MEMTRACE_DIR=" + victim.dir().string() + "\n";
  expected += "MEMTRACE_SAMPLE=all\nMEMTRACE_TAGS=a=b\nEMPTY=\nNOT_A_NAME ==x\nLAST=1\n";
  CHECK(victim.run().out == expected);
}

}  // namespace
}  // namespace memtrace::test
