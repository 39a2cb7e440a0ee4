// Is a process ready to be asked for a snapshot by its trigger signal, and where will the file appear?
//
// Called by: memtrace snap, once, before anything is sent. Thread-safety: one thread. Reads /proc only.
#pragma once

#include <sys/types.h>

#include <filesystem>
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
};

struct Refusal {
  std::string reason;
};

[[nodiscard]] std::variant<SnapshotTarget, Refusal> examine_target(pid_t pid);

}  // namespace memtrace
