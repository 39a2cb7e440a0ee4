// The decoded model of one .snap file: what snapshot_reader yields and the analyzer works on.
//
// Plain data, owned by value, immutable after reading: safe to share between threads.
// All indices are valid in a Snapshot that the reader returned.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "format/container.hpp"  // kFormatVersion
#include "format/types.hpp"

namespace memtrace {

// One executable segment of one loaded ELF object.
struct Module {
  std::uint64_t start = 0;        // first address
  std::uint64_t end = 0;          // one past the last address
  std::uint64_t file_offset = 0;  // of `start` in the file
  std::string path{};             // as the loader knew it; may be "[vdso]" or end in " (deleted)"
  std::string build_id{};         // lower-case hex, empty when unknown

  friend bool operator==(const Module&, const Module&) = default;
};

inline constexpr std::uint32_t kNoModule = UINT32_MAX;

struct Location {
  LookupAddress address{};
  std::uint32_t module = kNoModule;  // index into Snapshot::modules

  friend bool operator==(const Location&, const Location&) = default;
};

// One distinct stack; frames are Snapshot::frames[first_frame .. first_frame + frame_count), innermost first,
// each an index into Snapshot::locations.
struct Stack {
  std::uint32_t first_frame = 0;
  std::uint32_t frame_count = 0;
  bool truncated = false;
  // Estimates over the session, rounded by the shim.
  std::uint64_t allocated_count = 0;
  std::uint64_t allocated_bytes = 0;
  std::uint64_t freed_count = 0;
  std::uint64_t freed_bytes = 0;
  // The shim's own live estimates (pprof's inuse_*): what other tools will show.
  std::uint64_t live_count = 0;
  std::uint64_t live_bytes = 0;

  friend bool operator==(const Stack&, const Stack&) = default;
};

// One live sample. (thread, sample_number) is its identity inside a session.
struct Record {
  std::uint64_t sample_number = 0;
  std::uint64_t address = 0;
  std::uint64_t size_bytes = 0;
  std::int64_t birth_ns = 0;  // CLOCK_MONOTONIC
  std::uint32_t stack = 0;    // index into Snapshot::stacks
  std::uint32_t thread = 0;   // serial; threads may lack an entry in Snapshot::threads
  AllocKind kind = AllocKind::kHeap;

  friend bool operator==(const Record&, const Record&) = default;
};

struct Thread {
  std::uint64_t tid = 0;
  std::string name{};

  friend bool operator==(const Thread&, const Thread&) = default;
};

struct Snapshot {
  std::uint32_t format_version = 0;

  SessionId session{};
  std::uint64_t pid = 0;
  std::uint64_t ppid = 0;
  std::string boot_id;
  std::string exe;
  std::string host;
  std::vector<std::string> tags;
  std::uint64_t rss_bytes = 0;  // 0: unknown
  std::int64_t start_realtime_ns = 0;
  std::int64_t start_monotonic_ns = 0;

  TriggerReason reason = TriggerReason::kUnknown;
  std::string label;
  std::uint64_t sequence = 0;

  std::int64_t realtime_ns = 0;
  std::int64_t monotonic_ns = 0;
  std::int64_t boottime_ns = 0;

  SamplingMode mode = SamplingMode::kPoissonBytes;
  std::uint64_t interval_bytes = 1;
  bool fixed_seed = false;
  std::uint32_t max_frames = 0;
  std::string unwinder;

  std::vector<Module> modules;
  std::vector<Location> locations;
  std::vector<std::uint32_t> frames;  // see Stack
  std::vector<Stack> stacks;
  std::vector<Record> records;
  std::map<std::uint32_t, Thread> threads;    // by serial
  std::map<std::string, std::uint64_t> self;  // counters of the shim
  std::vector<std::string> warnings;          // from reading: newer version, ...

  friend bool operator==(const Snapshot&, const Snapshot&) = default;
};

}  // namespace memtrace
