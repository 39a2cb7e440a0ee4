// Writes seeds for diff_fuzz into a directory: diff_seeds DIRECTORY
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>

#include "tests/fuzz/input_parts.hpp"
#include "tests/support/golden_snapshot.hpp"
#include "tests/support/message_bytes.hpp"
#include "tests/support/snapshot_builder.hpp"

namespace {

using namespace memtrace;
using namespace memtrace::test;

std::vector<std::byte> message(const Snapshot& snapshot) { return message_of(write_snapshot(snapshot)); }

void save(const std::string& path, const fuzz::InputParts& parts) {
  const auto bytes = parts.bytes();
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

// The golden snapshot, and the same process a minute later: one block gone, forty born.
std::pair<Snapshot, Snapshot> leak(SamplingMode mode) {
  Snapshot old = golden_snapshot();
  old.mode = mode;
  if (mode == SamplingMode::kAll) old.interval_bytes = 1;
  Snapshot current = old;
  ++current.sequence;
  current.monotonic_ns += 60'000'000'000;
  current.realtime_ns += 60'000'000'000;
  current.records.erase(current.records.begin());
  for (std::uint64_t i = 0; i < 40; ++i) {
    const auto birth = old.monotonic_ns + static_cast<std::int64_t>(i) * 1'400'000'000;
    current.records.push_back({.sample_number = 100 + i,
                               .address = 0x9000 + 0x100 * i,
                               .size_bytes = 200,
                               .birth_ns = birth,
                               .stack = static_cast<std::uint32_t>(i % 3)});
  }
  return {old, current};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: diff_seeds DIRECTORY\n");
    return 2;
  }
  const std::string directory = std::string(argv[1]) + "/";
  const auto sampled = leak(SamplingMode::kPoissonBytes);
  const auto all = leak(SamplingMode::kAll);
  for (std::uint8_t group = 0; group < 6; ++group) {
    const auto& [old, current] = group % 2 == 0 ? sampled : all;
    const auto cumulative = static_cast<std::uint8_t>(group >= 1 && group <= 4 ? 126 + group : group);
    save(directory + "leak" + std::to_string(group),
         {.settings = {cumulative, group, group}, .first = message(old), .second = message(current)});
  }
  Snapshot other = sampled.second;
  other.session.bytes[0] ^= 1;
  save(directory + "two_processes",
       {.settings = {3}, .first = message(sampled.first), .second = message(other)});
  save(directory + "one", {.settings = {}, .first = {}, .second = message(sampled.second)});
  save(directory + "empty", {.settings = {}, .first = {}, .second = message(SnapshotBuilder().snapshot())});
  return 0;
}
