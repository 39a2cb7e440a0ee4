// Takes the message out of a .snap file: checks head, tail and checksums, decompresses within a limit.
//
// Called by: the reader, once per file. Input is hostile: no length in the file is trusted.
// Memory: at most twice what has been decompressed so far, which is at most max_message_bytes and some times
// the file, plus zstd's window (16 MiB). Failure: throws DecodeError or std::bad_alloc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "format/container.hpp"

namespace memtrace {

struct PackedMessage {
  std::unique_ptr<std::byte[]> bytes;
  std::size_t size = 0;
  std::uint32_t version = 0;
  container::Totals totals;  // as the tail claims
};

// Only the head, so that a wrong file is refused before it is read whole. `start`: the first kHeadBytes or
// more, or all.
void check_head(std::span<const std::byte> start, std::uint64_t max_message_bytes);

[[nodiscard]] PackedMessage unpack(std::span<const std::byte> file, std::uint64_t max_message_bytes);

}  // namespace memtrace
