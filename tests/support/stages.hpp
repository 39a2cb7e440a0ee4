// The stages wired up as the shim's constructor does it, for one process: call it in a child (child.hpp).
#pragma once

#include <string>
#include <vector>

#include "format/snapshot_reader.hpp"
#include "preload/counters.hpp"
#include "preload/real.hpp"
#include "preload/snapshotter.hpp"
#include "preload/tracker.hpp"
#include "tests/support/child.hpp"

namespace memtrace::test {

// Everything recorded into `directory`.
inline Options exact_options(std::string_view directory) {
  Options options;
  options.sample = {SamplingMode::kAll, 1};
  options.dir = directory;
  options.seed = 1;
  return options;
}

inline void start_stages(const Options& options) {
  const InHook hook;
  real::resolve();
  diag::start();
  diag::set_level(options.log);
  expect(g_snapshotter.start(options));
  tracker::start(options, options.seed, UINT64_MAX);
}

inline Snapshot take_and_read(TriggerReason reason = TriggerReason::kApi, std::string_view label = {}) {
  SnapshotRequest request{reason, {}};
  request.label << label;
  expect(g_snapshotter.take(request) == 0);
  const std::string path(g_snapshotter.path().view());
  auto read = read_snapshot_file(path);
  if (!read) dprintf(g_told_at, "%s\n", read.error().why.c_str());
  expect(read.ok());
  // A test without a directory of its own leaves nothing in everybody's.
  if (path.starts_with("/tmp/") && path.find('/', 5) == std::string::npos) unlink(path.c_str());
  return std::move(read).value();
}

// The record of an address; fails the child if there is none.
inline const Record& record_at(const Snapshot& snapshot, const void* address) {
  for (const Record& record : snapshot.records) {
    if (record.address == reinterpret_cast<std::uint64_t>(address)) return record;
  }
  expect(false);
  __builtin_unreachable();
}

inline bool has_record(const Snapshot& snapshot, const void* address) {
  for (const Record& record : snapshot.records) {
    if (record.address == reinterpret_cast<std::uint64_t>(address)) return true;
  }
  return false;
}

}  // namespace memtrace::test

// The hooks, under the names they have in-process.
extern "C" {
#define MEMTRACE_HOOK(name, result, parameters, kind) result memtrace_hook_##name parameters;
#include "preload/hooked_functions.inc"
#undef MEMTRACE_HOOK
}
