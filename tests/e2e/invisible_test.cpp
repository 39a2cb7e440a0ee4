// What would break: a program could tell that it is traced: by an fd, a thread, a mask, a variable, by what
// it prints; or a snapshot would write into a file of the program's own.
#include <signal.h>

#include "tests/support/catch.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

// What names the shim is different by design.
std::string without_own_variables(const std::string& text) {
  std::string kept;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end - at);
    if (line.rfind("LD_PRELOAD=", 0) != 0 && line.rfind("MEMTRACE", 0) != 0) kept += line + "\n";
    at = end == std::string::npos ? text.size() : end + 1;
  }
  return kept;
}

TEST_CASE("fds, threads, masks, environment and names are as without the shim, before and after snapshots") {
  const std::string how = GENERATE("", "close");
  CAPTURE(how);
  const auto blocked = [] {
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGHUP);
    sigprocmask(SIG_SETMASK, &mask, nullptr);
  };
  Preloaded bare("observer", {how});
  const Ending expected = bare.without_shim().in_child(blocked).run();
  REQUIRE(expected.exit_code == 3);
  for (const char* sample : {"all", "512KiB"}) {
    Preloaded victim("observer", {how});
    victim.set("MEMTRACE_SAMPLE", sample).in_child(blocked);
    const Ending ending = victim.run();
    CAPTURE(sample, ending.err);
    CHECK(ending.exit_code == 3);
    CHECK(ending.err.empty());
    CHECK(without_own_variables(ending.out) == without_own_variables(expected.out));
    CHECK(victim.snapshot_files().size() == 2);
  }
}

TEST_CASE("programs print what they print without the shim") {
  const std::vector<std::vector<std::string>> commands = {
      {"/bin/ls", "-la", "/usr/lib"},
      {"/bin/sh", "-c", "for i in 1 2 3; do echo $i | sort -r; done; ls /no-such-file; exit 4"},
      {"/usr/bin/env", "-i", "/usr/bin/env"},
      {"/usr/bin/find", "/usr/share/doc", "-maxdepth", "1", "-name", "lib*"},
  };
  for (const auto& command : commands) {
    CAPTURE(command[0]);
    const std::vector<std::string> arguments(command.begin() + 1, command.end());
    Preloaded bare(command[0], arguments);
    Preloaded victim(command[0], arguments);
    const Ending expected = bare.without_shim().run();
    const Ending ending = victim.exact().set("MEMTRACE_AT_EXIT", "1").run();
    CHECK(ending.exit_code == expected.exit_code);
    CHECK(ending.out == expected.out);
    CHECK(ending.err == expected.err);
  }
}

}  // namespace
}  // namespace memtrace::test
