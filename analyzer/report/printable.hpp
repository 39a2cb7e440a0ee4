// Untrusted text for a terminal or a line-based format.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "format/utf8.hpp"

namespace memtrace {

// Control characters, C1's included, and bytes that are not UTF-8 become "\x1b": names out of snapshots and
// debug information must not drive a terminal or add lines.
[[nodiscard]] inline std::string printable(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const std::size_t valid = utf8_sequence(text);
    const std::string_view character = text.substr(0, valid == 0 ? 1 : valid);
    const auto code = static_cast<unsigned char>(character[0]);
    const bool c1 = valid == 2 && code == 0xc2 && static_cast<unsigned char>(character[1]) < 0xa0;
    if (valid == 0 || code < 0x20 || code == 0x7f || c1) {
      for (const char c : character) {
        const auto byte = static_cast<unsigned char>(c);
        ((result += "\\x") += kDigits[byte >> 4]) += kDigits[byte & 15];
      }
    } else {
      result += character;
    }
    text.remove_prefix(character.size());
  }
  return result;
}

}  // namespace memtrace
