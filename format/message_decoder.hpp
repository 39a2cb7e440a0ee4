// The uncompressed message -> Snapshot.
//
// Called by: the reader, once per file; the fuzzer, which cannot get past the checksums otherwise.
// Input is hostile: every index and count is checked, no recursion. Memory: twice `memory_budget` and the
// strings (vectors double). Thread-safety: pure. Failure: decode_message returns it; the parts throw
// DecodeError, protozero::exception or std::bad_alloc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "format/container.hpp"
#include "format/message_parts.hpp"
#include "format/result.hpp"
#include "format/snapshot.hpp"
#include "format/snapshot_reader.hpp"

namespace memtrace {

struct DecodedMessage {
  Snapshot snapshot;
  container::Totals totals;  // as counted
};

// What a file of `bytes` may take in memory. Records of nothing but equal blocks take 24 times their file,
// others less.
[[nodiscard]] constexpr std::uint64_t memory_for(std::uint64_t bytes) {
  return (std::uint64_t{512} << 20) + 64 * bytes;
}

[[nodiscard]] Result<DecodedMessage, FormatError> decode_message(std::span<const std::byte> message,
                                                                 std::uint64_t memory_budget);
[[nodiscard]] inline Result<DecodedMessage, FormatError> decode_message(std::span<const std::byte> message) {
  return decode_message(message, memory_for(message.size()));
}

// The steps, in the order in which they must be taken.
void decode_header(MessageParts& parts, Snapshot& to);
void decode_profile(MessageParts& parts, Snapshot& to);
// Returns the number of records in the message, which is more than in the Snapshot when some are of unknown
// kind.
[[nodiscard]] std::uint64_t decode_records(MessageParts& parts, Snapshot& to);
void decode_threads_and_counters(MessageParts& parts, Snapshot& to);

}  // namespace memtrace
