// An input of two parts and settings: two snapshots, or a binary and its debug file.
//
// Bytes: eight of settings, the size of the first part (32 bits, little-endian), the first part, the second.
// Nothing in it is a checksum: a fuzzer's changes reach what they were made for.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace memtrace::fuzz {

struct InputParts {
  std::array<std::uint8_t, 8> settings{};
  std::vector<std::byte> first;
  std::vector<std::byte> second;

  // Takes any bytes.
  [[nodiscard]] static InputParts parse(std::span<const std::uint8_t> bytes);
  [[nodiscard]] std::vector<std::uint8_t> bytes() const;
};

}  // namespace memtrace::fuzz
