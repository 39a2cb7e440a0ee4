// Is this UTF-8? proto3 strings must be, paths and thread names need not be.
//
// Called by: the snapshot writer, once per string. Header-only, pure, no libstdc++ at link time.
#pragma once

#include <cstddef>
#include <string_view>

namespace memtrace {

// Length of the valid sequence that `text` starts with, 0 when it starts with none. Overlong forms,
// surrogates and values above U+10FFFF are invalid.
[[nodiscard]] constexpr std::size_t utf8_sequence(std::string_view text) {
  if (text.empty()) return 0;
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = at(0);
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  const std::size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((at(i) & 0xC0) != 0x80) return 0;
  }
  const unsigned second = at(1);
  if (lead == 0xE0 && second < 0xA0) return 0;
  if (lead == 0xED && second > 0x9F) return 0;
  if (lead == 0xF0 && second < 0x90) return 0;
  if (lead == 0xF4 && second > 0x8F) return 0;
  return size;
}

// Length of the longest valid prefix.
[[nodiscard]] constexpr std::size_t utf8_prefix(std::string_view text) {
  std::size_t valid = 0;
  while (valid < text.size()) {
    const std::size_t size = utf8_sequence({text.data() + valid, text.size() - valid});
    if (size == 0) break;
    valid += size;
  }
  return valid;
}

}  // namespace memtrace
