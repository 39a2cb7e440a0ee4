// How reading fails inside format/: thrown where it is noticed, caught once at the entrance.
//
// Called by: the reader's parts. Not for preload/.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "format/snapshot_reader.hpp"

namespace memtrace {

struct DecodeError {
  FormatError error;
};

[[noreturn]] inline void fail_in_file(std::uint64_t offset, const std::string& why) {
  // What is wrong from the first byte on is wrong as a whole.
  throw DecodeError{
      {offset, offset == 0 ? why : why + " (at byte " + std::to_string(offset) + " of the file)"}};
}

[[noreturn]] inline void fail_in_message(std::uint64_t offset, const std::string& why) {
  throw DecodeError{{offset, why + " (at byte " + std::to_string(offset) + " of the uncompressed message)"}};
}

}  // namespace memtrace
