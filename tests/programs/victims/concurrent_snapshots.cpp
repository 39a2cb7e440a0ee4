// Eight threads take snapshots at once, each under a label of its own; each must be told its own file.
#include <fcntl.h>

#include <string>
#include <thread>

#include "tests/programs/victims/truth.h"

namespace {

void take(int number) {
  char path[4200];
  for (int i = 0; i < 10; ++i) {
    const std::string label = "t" + std::to_string(number) + "-" + std::to_string(i);
    REQUIRE(memtrace_snapshot(label.c_str(), path, sizeof path) == 0);
    const std::string end = "." + label + ".snap";
    const std::string told(path);
    if (told.size() < end.size() || told.compare(told.size() - end.size(), end.size(), end) != 0) {
      dprintf(2, "%s was told %s\n", label.c_str(), path);
      _exit(99);
    }
    REQUIRE(access(path, R_OK) == 0);
  }
}

}  // namespace

int main() {
  std::thread threads[8];
  for (int i = 0; i < 8; ++i) threads[i] = std::thread(take, i);
  for (auto& thread : threads) thread.join();
  return 0;
}
