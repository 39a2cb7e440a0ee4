// Builds a snapshot from a few calls, as the decoded model and as the bytes of a .snap file.
//
// For unit tests, fuzz seeds and benchmarks. The two forms are equivalent: reading bytes() yields snapshot(),
// but for the order of records. Aborts the test by exception when something cannot be written.
//
//   SnapshotBuilder b;
//   const auto exe = b.add_module({.start = 0x1000, .end = 0x9000, .path = "/srv/payments"});
//   const auto stack = b.add_stack({b.add_location(0x1234, exe), b.add_location(0x2000, exe)});
//   b.add_live(stack, 3, 100);                  // three blocks of 100 bytes
//   b.header().pid = 42;
//   b.write(path);
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "format/snapshot.hpp"
#include "format/snapshot_writer.hpp"

namespace memtrace::test {

// Collects what a writer writes.
struct MemorySink {
  std::vector<std::byte> bytes;
  [[nodiscard]] ByteSink sink();
};

// A snapshot as a .snap file. Tags must not contain commas, build-ids must be hexadecimal.
[[nodiscard]] std::vector<std::byte> write_snapshot(const Snapshot& snapshot);
// The same through a sink of the caller's; returns what SnapshotWriter::finish() returned.
[[nodiscard]] int write_snapshot(const Snapshot& snapshot, const ByteSink& sink);

// The writer orders records by address: both sides of a comparison go through here.
[[nodiscard]] Snapshot with_sorted_records(Snapshot snapshot);

class SnapshotBuilder {
 public:
  // A plausible process, signal and clock; every allocation recorded.
  SnapshotBuilder();

  // Everything but modules, locations, stacks and records may be changed at will.
  [[nodiscard]] Snapshot& header() { return snapshot_; }

  // Each returns the index of what was added.
  std::uint32_t add_module(Module module);
  std::uint32_t add_location(std::uint64_t address, std::uint32_t module = kNoModule);
  // Innermost first.
  std::uint32_t add_stack(const std::vector<std::uint32_t>& locations);
  // Counts as one live allocation of its stack, exactly: what it stands for under sampling is the caller's to
  // set.
  std::uint32_t add_record(const Record& record);
  // `count` records of one size; thread 0, next free sample numbers and addresses.
  void add_live(std::uint32_t stack, std::uint32_t count, std::uint64_t size_bytes, std::int64_t birth_ns = 0,
                AllocKind kind = AllocKind::kHeap);
  void add_thread(std::uint32_t serial, std::uint64_t tid, std::string name);
  void add_counter(std::string name, std::uint64_t value);
  [[nodiscard]] Stack& stack(std::uint32_t index) { return snapshot_.stacks.at(index); }

  [[nodiscard]] const Snapshot& snapshot() const { return snapshot_; }
  [[nodiscard]] std::vector<std::byte> bytes() const { return write_snapshot(snapshot_); }
  void write(const std::string& path) const;

 private:
  Snapshot snapshot_;
  std::uint64_t next_sample_ = 1;
  std::uint64_t next_address_ = 0x5555'0000'0000;
};

}  // namespace memtrace::test
