// What would break: a core dump of a traced program would be larger by all of our tables, and take our memory
// for the program's.
#include <signal.h>

#include <fstream>
#include <sstream>

#include "tests/support/catch.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

// Resident private memory that a core dump takes: of mappings that are not left out by MADV_DONTDUMP.
std::uint64_t dumped_kib(pid_t pid) {
  std::ifstream maps("/proc/" + std::to_string(pid) + "/smaps");
  std::uint64_t total = 0;
  std::uint64_t anonymous = 0;
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::string key;
    words >> key;
    if (key == "Anonymous:") words >> anonymous;
    if (key == "VmFlags:" && line.find(" dd") == std::string::npos) total += anonymous;
  }
  return total;
}

std::uint64_t dumped_kib(Preloaded& victim, bool snapshot) {
  victim.start();
  CHECK(victim.read_line() == "ready");
  if (snapshot) {
    victim.kill(SIGUSR2);
    victim.wait_for_snapshots(1);
  }
  const std::uint64_t dumped = dumped_kib(victim.pid());
  CHECK(victim.finish().exit_code == 5);
  return dumped;
}

TEST_CASE("core dumps are as large as without the shim, but for a megabyte") {
  Preloaded bare("steady_host", {"100000"});
  Preloaded victim("steady_host", {"100000"});
  bare.without_shim();
  victim.exact();
  const std::uint64_t usual = dumped_kib(bare, false);
  const std::uint64_t ours = dumped_kib(victim, true);
  CHECK(usual > 0);
  CHECK(ours < usual + 1024);
}

}  // namespace
}  // namespace memtrace::test
