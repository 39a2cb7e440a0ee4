#include "analyzer/thread_table.hpp"

#include <fmt/format.h>

namespace memtrace {

ThreadTable::Numbers ThreadTable::add(const Snapshot& snapshot) {
  Numbers numbers;
  for (const auto& record : snapshot.records) {
    const auto [entry, is_new] = numbers.try_emplace(record.thread, 0);
    if (!is_new) continue;
    const auto thread = snapshot.threads.find(record.thread);
    const bool named = thread != snapshot.threads.end() && !thread->second.name.empty();
    std::string label = named ? thread->second.name : fmt::format("thread #{}", record.thread);
    const std::string identity = same_by_ == SameBy::kSerial ? std::to_string(record.thread) : label;
    if (same_by_ == SameBy::kSerial && thread != snapshot.threads.end()) {
      label += fmt::format(" (tid {})", thread->second.tid);
    }
    const auto [known, added] =
        by_identity_.try_emplace(identity, static_cast<std::uint32_t>(labels_.size()));
    if (added) {
      labels_.push_back(label);
    } else if (named) {
      labels_[known->second] = label;  // a thread that ended keeps the name that the other snapshot knew
    }
    entry->second = known->second;
  }
  return numbers;
}

}  // namespace memtrace
