// Writes seeds for snapshot_reader_fuzz into a directory: snapshot_reader_seeds DIRECTORY
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "tests/support/message_bytes.hpp"
#include "tests/support/snapshot_builder.hpp"

namespace {

using namespace memtrace::test;

void save(const std::string& path, char first, const std::vector<std::byte>& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.put(first);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

void save_both(const std::string& stem, const std::vector<std::byte>& snap) {
  save(stem + ".file", 0, snap);
  save(stem + ".message", 1, message_of(snap));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: snapshot_reader_seeds DIRECTORY\n");
    return 2;
  }
  const std::string directory = std::string(argv[1]) + "/";
  SnapshotBuilder empty;
  save_both(directory + "empty", empty.bytes());

  SnapshotBuilder small;
  const auto exe = small.add_module(
      {.start = 0x400000, .end = 0x500000, .file_offset = 0, .path = "/srv/a", .build_id = "00ff"});
  const auto leaf = small.add_location(0x400123, exe);
  const auto root = small.add_location(0x7000);
  small.add_live(small.add_stack({leaf, root}), 3, 100);
  small.add_live(small.add_stack({root}), 1, 1 << 20, 0, memtrace::AllocKind::kMmap);
  small.add_thread(0, 4242, "main");
  small.add_counter("lost", 7);
  small.header().tags = {"pod=a", "version=1"};
  save_both(directory + "small", small.bytes());
  return 0;
}
