// From the ids of a pprof profile to positions: any numbers but 0, each once.
//
// Called by: the decoder, once per mapping and location, then once per use. Not thread-safe while filling.
// Memory: nothing while the ids are 1, 2, 3 ... as our writer gives them; 16 bytes per id otherwise.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace memtrace {

class IdIndex {
 public:
  // The n-th call gives the id of position n, from 0.
  void add(std::uint64_t id) {
    if (id != count_ + 1 && ids_.empty()) {
      for (std::uint32_t i = 0; i < count_; ++i) ids_.emplace_back(i + 1, i);
    }
    if (id != count_ + 1 || !ids_.empty()) ids_.emplace_back(id, count_);
    ++count_;
  }

  // After the last add(). The position of an id that is 0 or was given before, if there is one.
  [[nodiscard]] std::optional<std::uint32_t> sort_and_find_wrong() {
    // Sorted, not hashed: ids chosen to collide would make a hash table slow.
    std::ranges::sort(ids_);
    if (!ids_.empty() && ids_.front().first == 0) return ids_.front().second;
    const auto same =
        std::ranges::adjacent_find(ids_, [](const Entry& a, const Entry& b) { return a.first == b.first; });
    if (same == ids_.end()) return std::nullopt;
    return std::next(same)->second;
  }

  [[nodiscard]] std::optional<std::uint32_t> find(std::uint64_t id) const {
    if (ids_.empty()) {
      if (id == 0 || id > count_) return std::nullopt;
      return static_cast<std::uint32_t>(id - 1);
    }
    const auto entry = std::ranges::lower_bound(ids_, id, {}, &Entry::first);
    if (entry == ids_.end() || entry->first != id) return std::nullopt;
    return entry->second;
  }

 private:
  using Entry = std::pair<std::uint64_t, std::uint32_t>;
  std::uint32_t count_ = 0;
  std::vector<Entry> ids_;  // empty: 1, 2, 3 ...
};

}  // namespace memtrace
