// What surrounds the message in a .snap file: the head and tail frames, byte by byte (FORMAT.md).
//
// Included by writer and reader, so that the bytes are pinned once. Header-only; constants.
// All numbers in the file are little-endian.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace memtrace {

inline constexpr std::uint32_t kFormatVersion = 1;

namespace container {

// zstd tools pass over frames with these magic numbers (RFC 8878, 3.1.2).
inline constexpr std::uint32_t kHeadMagic = 0x184D2A5A;
inline constexpr std::uint32_t kTailMagic = 0x184D2A5B;
inline constexpr std::array<char, 8> kSignature = {'M', 'E', 'M', 'T', 'R', 'A', 'C', 'E'};

// Offsets inside either frame: magic, payload size, then the payload.
inline constexpr std::size_t kMagicAt = 0;
inline constexpr std::size_t kPayloadSizeAt = 4;
inline constexpr std::size_t kFrameHeadBytes = 8;
inline constexpr std::size_t kSignatureAt = 8;
inline constexpr std::size_t kVersionAt = 16;
inline constexpr std::size_t kReservedAt = 20;  // 0; ignored
inline constexpr std::size_t kMessageBytesAt = 24;
inline constexpr std::size_t kHeadBytes = 32;
// Tail only.
inline constexpr std::size_t kRecordsAt = 32;
inline constexpr std::size_t kSamplesAt = 40;
inline constexpr std::size_t kLocationsAt = 48;
inline constexpr std::size_t kModulesAt = 56;
inline constexpr std::size_t kTailBytes = 64;

static_assert(kSignatureAt == kFrameHeadBytes && kVersionAt == kSignatureAt + kSignature.size());

struct Totals {
  std::uint64_t message_bytes = 0;
  std::uint64_t records = 0;
  std::uint64_t samples = 0;
  std::uint64_t locations = 0;
  std::uint64_t modules = 0;

  friend constexpr bool operator==(const Totals&, const Totals&) = default;
};

template <class T>
constexpr void store(std::byte* to, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) to[i] = static_cast<std::byte>(value >> (8 * i));
}

template <class T>
[[nodiscard]] constexpr T load(const std::byte* from) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) value |= static_cast<T>(from[i]) << (8 * i);
  return value;
}

}  // namespace container
}  // namespace memtrace
