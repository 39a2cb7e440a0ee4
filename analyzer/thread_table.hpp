// One numbering of threads for all snapshots of a run.
//
// Threads of one process are the same when their serials are. Of two processes only the names can be
// compared.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "analyzer/keyed_hash.hpp"
#include "format/snapshot.hpp"

namespace memtrace {

class ThreadTable {
 public:
  using Numbers = std::unordered_map<std::uint32_t, std::uint32_t, KeyedHash>;  // serial -> number

  enum class SameBy { kSerial, kName };
  explicit ThreadTable(SameBy same_by) : same_by_(same_by) {}

  // Numbers of all threads that occur in the snapshot's records.
  [[nodiscard]] Numbers add(const Snapshot& snapshot);
  // "worker (tid 4243)"; "worker" when compared by name; "thread #7" when the name is unknown.
  [[nodiscard]] const std::string& label(std::uint32_t number) const { return labels_[number]; }

 private:
  SameBy same_by_;
  std::vector<std::string> labels_;
  std::unordered_map<std::string, std::uint32_t, KeyedHash> by_identity_;
};

}  // namespace memtrace
