// Protobuf messages by hand, and .snap files around them: for what the writer would never write.
//
//   MessageBytes location;
//   location.number(fields::location::kId, 1);
//   message.add(fields::kLocation, location);
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "format/container.hpp"

namespace memtrace::test {

class MessageBytes {
 public:
  MessageBytes() = default;
  explicit MessageBytes(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}

  // Written even when 0.
  MessageBytes& number(std::uint32_t field, std::uint64_t value);
  MessageBytes& packed(std::uint32_t field, const std::vector<std::uint64_t>& values);
  MessageBytes& text(std::uint32_t field, std::string_view value);
  MessageBytes& add(std::uint32_t field, const MessageBytes& message);
  MessageBytes& raw(std::string_view bytes);

  [[nodiscard]] const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  void varint(std::uint64_t value);
  std::vector<std::byte> bytes_;
};

// The message inside a whole .snap file, decompressed without the reader.
[[nodiscard]] std::vector<std::byte> message_of(const std::vector<std::byte>& snap);

// zstd frames around `message`, as one piece or several.
[[nodiscard]] std::vector<std::byte> compress(std::string_view message);

// A head or tail frame, as the writer makes it.
[[nodiscard]] std::vector<std::byte> head_frame(std::uint64_t message_bytes,
                                                std::uint32_t version = kFormatVersion);
[[nodiscard]] std::vector<std::byte> tail_frame(const container::Totals& totals,
                                                std::uint32_t version = kFormatVersion);

[[nodiscard]] std::vector<std::byte> join(const std::vector<std::vector<std::byte>>& parts);
[[nodiscard]] std::string_view text_of(const std::vector<std::byte>& bytes);
[[nodiscard]] std::vector<std::byte> bytes_of(std::string_view text);

}  // namespace memtrace::test
