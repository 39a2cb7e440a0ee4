// Writes the golden snapshot of the current format version: see CMakeLists.txt. Refuses to replace a file.
#include <cstdio>

#include "tests/support/golden_snapshot.hpp"
#include "tests/support/snapshot_builder.hpp"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_golden FILE\n");
    return 2;
  }
  const auto bytes = memtrace::test::write_snapshot(memtrace::test::golden_snapshot());
  std::FILE* file = std::fopen(argv[1], "wbx");
  if (file == nullptr) {
    std::perror(argv[1]);
    return 1;
  }
  const bool whole = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  return std::fclose(file) == 0 && whole ? 0 : 1;
}
