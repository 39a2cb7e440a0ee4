// Asks a running process for a snapshot: checks that it is ready, signals it, waits for the file.
//
// Called by: memtrace snap, once. Thread-safety: one thread. Never signals a process whose handler for the
// signal is not known to be in place, because the signal's default action would kill it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <variant>

#include "analyzer/snapshot_target.hpp"

namespace memtrace {

struct SnapshotRequest {
  pid_t pid = 0;
  std::string label;  // empty: none
  std::chrono::milliseconds timeout{};
  TargetHints hints{};
};

struct SnapshotFailure {
  enum class Kind {
    kRefused,   // the process was not signalled
    kTimedOut,  // it was, and no file came
  } kind;
  std::string reason;
};

// The new file's path, as this process can open it.
[[nodiscard]] std::variant<std::filesystem::path, SnapshotFailure> take_remote_snapshot(
    const SnapshotRequest& request);

}  // namespace memtrace
