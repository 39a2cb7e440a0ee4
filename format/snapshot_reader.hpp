// Reads a .snap file: bytes -> Snapshot, or where and why not.
//
// Input is hostile: every length, index and count is checked, memory is bounded by ReadLimits, no recursion.
// Thread-safety: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "format/result.hpp"
#include "format/snapshot.hpp"

namespace memtrace {

struct FormatError {
  std::uint64_t offset = 0;  // in the file, or in the uncompressed message: `why` says which
  std::string why{};         // a sentence a user can act on, without the file's name
};

struct ReadLimits {
  std::uint64_t max_message_bytes = std::uint64_t{4} << 30;  // after decompression
};

Result<Snapshot, FormatError> read_snapshot(std::span<const std::byte> file, const ReadLimits& limits = {});

// Opens and reads; errors of the file system become FormatError too ("cannot open: ...", "is a directory",
// ...).
Result<Snapshot, FormatError> read_snapshot_file(const std::string& path, const ReadLimits& limits = {});

}  // namespace memtrace
