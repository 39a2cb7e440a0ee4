// Is a process ready to be asked for a snapshot by its trigger signal, and where will the file appear?
//
// Called by: memtrace snap, once, before anything is sent. Thread-safety: one thread. Reads /proc only.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "analyzer/process_status.hpp"

namespace memtrace {

// Everything that is known about a process that may be signalled.
struct SnapshotTarget {
  ProcessStatus status;
  int signal_number = 0;
  std::vector<std::filesystem::path>
      directories;  // where its snapshots may appear, as this process reaches them
  // Empty, or the clause for messages that says why the settings are guesses.
  std::string doubt;
};

// What the caller knows better than the process's environment.
struct TargetHints {
  std::filesystem::path directory;   // empty: MEMTRACE_DIR
  std::optional<int> signal_number;  // nullopt: MEMTRACE_SIGNAL
};

struct Refusal {
  std::string reason;
};

[[nodiscard]] std::variant<SnapshotTarget, Refusal> examine_target(pid_t pid, const TargetHints& hints);

}  // namespace memtrace
