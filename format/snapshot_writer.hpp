// Streams one snapshot as zstd-compressed protobuf (FORMAT.md), without a heap.
//
// Called by: the snapshot thread of the shim (snapshot cost), tests, the fuzzers' seed builder.
// Thread-safety: one thread at a time. Memory: only the workspace handed in (P1); no libc calls but mem*; no
// errno. Failure: the first error of the sink or of zstd sticks, every later call does nothing, finish()
// returns it.
//
// Order of calls: begin(), then anything in any order, then finish(). Strings are written when first handed
// in, so that the writer keeps no string table: string() returns the index to use in later messages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "format/types.hpp"
#include "format/zstd_stream.hpp"  // ByteSink

namespace memtrace {

// Index into the file's string table; 0 is "".
enum class StringIndex : std::uint32_t { kEmpty = 0 };

struct ProcessInfo {
  SessionId session{};
  std::uint64_t pid = 0;
  std::uint64_t ppid = 0;
  std::string_view boot_id{};
  std::string_view exe{};
  std::string_view host{};
  std::string_view tags{};  // "k=v,k=v"
  std::uint64_t rss_bytes = 0;
  std::int64_t start_realtime_ns = 0;
  std::int64_t start_monotonic_ns = 0;
};

struct TriggerInfo {
  TriggerReason reason = TriggerReason::kUnknown;
  std::string_view label{};
  std::uint64_t sequence = 0;
};

struct ClockInfo {
  std::int64_t realtime_ns = 0;
  std::int64_t monotonic_ns = 0;
  std::int64_t boottime_ns = 0;
};

struct SamplingInfo {
  SamplingMode mode = SamplingMode::kPoissonBytes;
  std::uint64_t interval_bytes = 1;
  bool fixed_seed = false;
  std::uint32_t max_frames = 0;
  std::string_view unwinder{};
};

struct RecordInfo {
  std::uint64_t sample_number = 0;
  std::uint64_t address = 0;
  std::uint64_t size_bytes = 0;
  std::int64_t birth_ns = 0;
  std::uint32_t stack = 0;  // index of the sample() call, from 0, that describes this stack; may come later
  std::uint32_t thread = 0;
  AllocKind kind = AllocKind::kHeap;
};

struct StackInfo {
  std::span<const std::uint64_t> location_ids{};  // innermost first; at most kMaxFrames
  std::uint64_t allocated_count = 0;
  std::uint64_t allocated_bytes = 0;
  std::uint64_t freed_count = 0;
  std::uint64_t freed_bytes = 0;
  std::uint64_t live_count = 0;
  std::uint64_t live_bytes = 0;
  bool truncated = false;
};

struct ModuleInfo {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t file_offset = 0;
  std::string_view path{};
  BuildId build_id{};
};

class SnapshotWriter {
 public:
  static constexpr std::size_t kMaxFrames = 256;
  // Bytes of workspace needed, 64-byte aligned. Depends on the zstd linked: ask once at start.
  [[nodiscard]] static std::size_t workspace_bytes();

  // `workspace` must outlive the writer and be zero or reused from an earlier writer.
  SnapshotWriter(std::span<std::byte> workspace, ByteSink sink);
  SnapshotWriter(const SnapshotWriter&) = delete;
  SnapshotWriter& operator=(const SnapshotWriter&) = delete;

  void begin();
  StringIndex string(std::string_view text);
  void process(const ProcessInfo& info);
  void trigger(const TriggerInfo& info);
  void clocks(const ClockInfo& info);       // also time_nanos
  void sampling(const SamplingInfo& info);  // also period and period_type
  void record(const RecordInfo& info);
  void sample(const StackInfo& info);                     // the n-th call, from 0, is stack n
  void module(std::uint64_t id, const ModuleInfo& info);  // ids from 1
  void location(std::uint64_t id, std::uint64_t module_id,
                LookupAddress address);  // ids from 1; module 0: none
  void thread(std::uint32_t serial, std::uint64_t tid, std::string_view name);
  void counter(std::string_view name, std::uint64_t value);

  // Flushes batches, ends the zstd frame, writes the tail frame, completes the head. 0 or the first error
  // (errno).
  [[nodiscard]] int finish();
  [[nodiscard]] int error() const;

 private:
  struct State;
  State* state_;  // in the workspace
};

}  // namespace memtrace
