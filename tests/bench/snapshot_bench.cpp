// How long a snapshot of a million live records takes to write and read, and how large it gets.
//
//   snapshot_bench [records] [seed]
//
// Two orders of the same records: by address (a table indexed by address yields that) and shuffled (a hash
// table). Medians of five, processor time. Nothing is asserted: figures depend on the machine.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "format/snapshot_reader.hpp"
#include "format/snapshot_writer.hpp"
#include "tests/support/snapshot_builder.hpp"

namespace {

using memtrace::RecordInfo;

constexpr std::uint32_t kStacks = 5000;
constexpr std::uint32_t kLocations = 20000;

// A program that allocated for ten minutes: sizes with a long tail, a few stacks make most blocks, four
// threads, a clock that ticks every 4 ms, addresses that mostly grow with time.
std::vector<RecordInfo> make_records(std::size_t count, std::mt19937_64& random) {
  std::vector<RecordInfo> records(count);
  std::geometric_distribution<std::uint32_t> stack(0.01);
  std::lognormal_distribution<double> size(4.5, 1.2);
  std::uint64_t address = 0x5555'5555'0000;
  std::uint64_t sample_numbers[4] = {};
  const std::int64_t tick = 4'000'000;
  for (std::size_t i = 0; i < count; ++i) {
    RecordInfo& r = records[i];
    r.stack = std::min(stack(random), kStacks - 1);
    r.size_bytes = static_cast<std::uint64_t>(size(random)) + 1;
    r.thread = static_cast<std::uint32_t>(random() % 4);
    r.sample_number = sample_numbers[r.thread] += 1 + random() % 3;
    r.birth_ns = 1'000'000'000 + static_cast<std::int64_t>(i) * 600'000'000'000 /
                                     static_cast<std::int64_t>(count) / tick * tick;
    r.address = address;
    address += (r.size_bytes + 8 + 15) / 16 * 16;
  }
  // Reused blocks: a tenth of the addresses changed hands.
  for (std::size_t i = 0; i < count / 10; ++i) {
    std::swap(records[random() % count].address, records[random() % count].address);
  }
  return records;
}

using memtrace::test::MemorySink;

void write(std::span<std::byte> workspace, const std::vector<RecordInfo>& records, MemorySink& output) {
  memtrace::SnapshotWriter writer(workspace, output.sink());
  writer.begin();
  writer.process({.pid = 1, .exe = "/srv/payments", .host = "bench"});
  writer.trigger({.reason = memtrace::TriggerReason::kSignal, .sequence = 1});
  writer.clocks({.realtime_ns = 1'800'000'000'000'000'000, .monotonic_ns = 601'000'000'000});
  writer.sampling({.mode = memtrace::SamplingMode::kAll, .max_frames = 64, .unwinder = "cfi"});
  for (const RecordInfo& record : records) writer.record(record);
  std::mt19937_64 random(1);
  std::vector<std::uint64_t> frames(24);
  for (std::uint32_t i = 0; i < kStacks; ++i) {
    for (std::uint64_t& frame : frames) frame = 1 + random() % kLocations;
    writer.sample({.location_ids = frames,
                   .allocated_count = i,
                   .allocated_bytes = i * 100,
                   .live_count = i,
                   .live_bytes = i});
  }
  writer.module(1, {.start = 0x400000, .end = 0x800000, .path = "/srv/payments"});
  for (std::uint32_t i = 1; i <= kLocations; ++i) {
    writer.location(i, 1, memtrace::LookupAddress{0x400000 + i * 97});
  }
  for (std::uint32_t i = 0; i < 4; ++i) writer.thread(i, 100 + i, "worker");
  if (const int error = writer.finish(); error != 0) {
    std::fprintf(stderr, "write: %s\n", std::strerror(error));
    std::exit(1);
  }
}

// Of processor time: what else the machine does shall not count.
double median_ms(const std::function<void()>& work) {
  std::vector<double> times;
  for (int i = 0; i < 5; ++i) {
    const std::clock_t start = std::clock();
    work();
    times.push_back(1e3 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  std::ranges::sort(times);
  return times[2];
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t count = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1'000'000;
  std::mt19937_64 random(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
  auto records = make_records(count, random);
  const std::size_t room = memtrace::SnapshotWriter::workspace_bytes();
  const std::unique_ptr<std::byte, decltype(&std::free)> workspace(
      static_cast<std::byte*>(std::aligned_alloc(64, room)), &std::free);
  std::printf("%zu records, workspace %zu KiB\n", count, room / 1024);
  std::printf("%-12s %10s %10s %10s\n", "order", "write ms", "read ms", "MB");
  for (const char* order : {"by address", "shuffled"}) {
    if (*order == 'b') {
      std::ranges::sort(records, {}, &RecordInfo::address);
    } else {
      std::ranges::shuffle(records, random);
    }
    MemorySink output;
    output.bytes.reserve(64 << 20);
    const double write_ms = median_ms([&] {
      output.bytes.clear();
      write({workspace.get(), room}, records, output);
    });
    const double read_ms = median_ms([&] {
      const auto snapshot = memtrace::read_snapshot(output.bytes);
      if (!snapshot.ok() || snapshot.value().records.size() != count) {
        std::fprintf(stderr, "read: %s\n", snapshot.ok() ? "records lost" : snapshot.error().why.c_str());
        std::exit(1);
      }
    });
    std::printf("%-12s %10.1f %10.1f %10.2f\n", order, write_ms, read_ms,
                static_cast<double>(output.bytes.size()) / 1e6);
  }
}
