// Writes a .snap file from a description on stdin, for test scripts.
//
//   session HEX32 | exe PATH | pid N | sequence N | clock REALTIME_NS MONOTONIC_NS | interval N (0: every
//   allocation) module START END FILE_OFFSET BUILD_ID PATH      location ADDRESS MODULE      stack
//   LOCATION... record NUMBER SIZE STACK [BIRTH_NS]
// Indices from 0, in the order given. Any other word: exit status 1.
#include <cstdio>
#include <iomanip>
#include <iostream>
#include <sstream>
#include <string>

#include "tests/support/snapshot_builder.hpp"

namespace {

using namespace memtrace;

bool read_line(std::istringstream& line, test::SnapshotBuilder& builder) {
  Snapshot& header = builder.header();
  std::string word;
  line >> word >> std::setbase(0);
  if (word == "session") {
    std::string hex;
    line >> hex;
    for (std::size_t i = 0; i < 16; ++i) {
      header.session.bytes[i] = static_cast<std::uint8_t>(std::stoul(hex.substr(2 * i, 2), nullptr, 16));
    }
  } else if (word == "exe") {
    line >> header.exe;
  } else if (word == "pid") {
    line >> header.pid;
  } else if (word == "sequence") {
    line >> header.sequence;
  } else if (word == "clock") {
    line >> header.realtime_ns >> header.monotonic_ns;
  } else if (word == "interval") {
    line >> header.interval_bytes;
    header.mode = header.interval_bytes == 0 ? SamplingMode::kAll : SamplingMode::kPoissonBytes;
    if (header.interval_bytes == 0) header.interval_bytes = 1;
  } else if (word == "module") {
    Module module;
    line >> module.start >> module.end >> module.file_offset >> module.build_id >> module.path;
    if (module.build_id == "-") module.build_id.clear();
    builder.add_module(module);
  } else if (word == "location") {
    std::uint64_t address = 0;
    std::uint32_t module = 0;
    line >> address >> module;
    builder.add_location(address, module);
  } else if (word == "stack") {
    std::vector<std::uint32_t> locations;
    for (std::uint32_t location = 0; line >> location;) locations.push_back(location);
    builder.add_stack(locations);
    return true;
  } else if (word == "record") {
    Record record;
    line >> record.sample_number >> record.size_bytes >> record.stack;
    if (!(line >> record.birth_ns)) record.birth_ns = header.start_monotonic_ns;
    builder.add_record(record);
    return true;
  } else {
    return false;
  }
  return !line.fail();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 1;
  test::SnapshotBuilder builder;
  for (std::string text; std::getline(std::cin, text);) {
    std::istringstream line(text);
    if (!read_line(line, builder)) {
      std::fprintf(stderr, "snap_from_text: cannot read '%s'\n", text.c_str());
      return 1;
    }
  }
  builder.write(argv[1]);
  return 0;
}
