// The unwind rows of an ELF file as binutils sees them: an oracle for the compiled unwinder, by another
// parser and another interpreter of call frame instructions than ours. Runs readelf.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace memtrace::test {

// As readelf prints them: "rsp+8", "exp"; "u": as the caller left it, "c-16": saved there, "exp".
struct FrameRow {
  std::uint64_t begin = 0;  // addresses of the file
  std::uint64_t end = 0;
  bool is_signal_frame = false;
  std::string cfa;
  std::string rbp = "u";
  std::string return_address = "u";
};

// Calls `see` for each row, in the order of the file. Returns how many; throws where readelf fails.
std::size_t for_each_frame_row(const std::string& path, const std::function<void(const FrameRow&)>& see);

// By address.
std::vector<FrameRow> frame_rows(const std::string& path);

}  // namespace memtrace::test
