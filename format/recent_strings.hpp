// Remembers the last few short strings written, so that names handed in again and again are written once.
//
// Called by: the snapshot writer, once per string. Lives in the writer's workspace (P1); no libc but mem*.
// When full: the oldest is forgotten, and written again when it returns.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace memtrace {

class RecentStrings {
 public:
  // The index that `text` was remembered with, or 0.
  [[nodiscard]] std::uint32_t find(std::string_view text) const {
    for (const Entry& entry : entries_) {
      if (entry.index != 0 && entry.size == text.size() &&
          std::memcmp(entry.text.data(), text.data(), text.size()) == 0) {
        return entry.index;
      }
    }
    return 0;
  }

  void remember(std::string_view text, std::uint32_t index) {
    if (text.size() > kLongest) return;
    Entry& entry = entries_[next_++ % entries_.size()];
    std::memcpy(entry.text.data(), text.data(), text.size());
    entry.size = text.size();
    entry.index = index;
  }

 private:
  static constexpr std::size_t kLongest = 240;
  struct Entry {
    std::uint32_t index = 0;  // 0: unused
    std::size_t size = 0;
    std::array<char, kLongest> text;
  };
  std::array<Entry, 16> entries_;
  std::size_t next_ = 0;
};

}  // namespace memtrace
