// Untrusted text for a terminal or a line-based format.
#pragma once

#include <string>
#include <string_view>

namespace memtrace {

// Control characters become '?': names out of snapshots and debug information must not drive a terminal or
// add lines.
[[nodiscard]] inline std::string printable(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    const auto code = static_cast<unsigned char>(c);
    if (code < 0x20 || code == 0x7f) c = '?';
  }
  return result;
}

}  // namespace memtrace
