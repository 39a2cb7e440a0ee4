// Would break: reading snapshots in any other language, by snapshot.proto or as a pprof profile. protoc is
// the oracle.
#include <cctype>
#include <fstream>
#include <set>
#include <sstream>

#include "format/fields.hpp"
#include "format/message_decoder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden_snapshot.hpp"
#include "tests/support/message_bytes.hpp"
#include "tests/support/run_program.hpp"
#include "tests/support/snapshot_builder.hpp"
#include "tests/support/temp_dir.hpp"

using namespace memtrace;
using namespace memtrace::test;

namespace {

const std::string kProto = "-I " MEMTRACE_SOURCE_DIR "/format snapshot.proto";

// What a tool that knows pprof alone sees.
constexpr std::string_view kPprofOnly = R"(
syntax = "proto3";
message Profile {
  repeated ValueType sample_type = 1;
  repeated Sample sample = 2;
  repeated Mapping mapping = 3;
  repeated Location location = 4;
  repeated string string_table = 6;
  int64 time_nanos = 9;
  int64 duration_nanos = 10;
  ValueType period_type = 11;
  int64 period = 12;
  repeated int64 comment = 13;
  int64 default_sample_type = 14;
}
message ValueType { int64 type = 1; int64 unit = 2; }
message Sample { repeated uint64 location_id = 1; repeated int64 value = 2; }
message Mapping {
  uint64 id = 1; uint64 memory_start = 2; uint64 memory_limit = 3; uint64 file_offset = 4;
  int64 filename = 5; int64 build_id = 6;
}
message Location { uint64 id = 1; uint64 mapping_id = 2; uint64 address = 3; }
)";

void save(const std::string& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  REQUIRE(file.flush().good());
}

std::string load(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::size_t count_of(const std::string& text, const std::string& what) {
  std::size_t count = 0;
  for (auto at = text.find(what); at != text.npos; at = text.find(what, at + 1)) ++count;
  return count;
}

// Everything of the form "some_name = 12", without underscores and the first `prefix` characters, in lower
// case.
std::multiset<std::string> named_numbers(const std::string& text, std::size_t prefix) {
  std::multiset<std::string> found;
  for (auto at = text.find(" = "); at != text.npos; at = text.find(" = ", at + 1)) {
    std::size_t begin = at;
    while (begin > 0 && (std::isalnum(static_cast<unsigned char>(text[begin - 1])) || text[begin - 1] == '_'))
      --begin;
    std::string entry;
    for (std::size_t i = begin + prefix; i < at; ++i) {
      if (text[i] != '_') entry += static_cast<char>(std::tolower(static_cast<unsigned char>(text[i])));
    }
    const std::size_t digits = text.find_first_not_of("0123456789", at + 3) - (at + 3);
    if (digits != 0) found.insert(entry.append("=").append(text, at + 3, digits));
  }
  return found;
}

}  // namespace

TEST_CASE("protoc reads a snapshot by snapshot.proto and finds every value") {
  const TempDir directory;
  const std::string message = directory.path() / "message.pb";
  const std::string text = directory.path() / "message.txt";
  const std::string again = directory.path() / "again.pb";
  save(message, text_of(message_of(write_snapshot(golden_snapshot()))));
  REQUIRE(
      run_program("protoc --decode=memtrace.Snapshot " + kProto + " <" + message + " >" + text).exit_code ==
      0);
  // --encode knows names only: it would refuse the numbers that --decode prints for fields not in the .proto.
  REQUIRE(run_program("protoc --encode=memtrace.Snapshot " + kProto + " <" + text + " >" + again).exit_code ==
          0);
  const auto decoded = decode_message(bytes_of(load(again)));
  INFO((decoded.ok() ? "" : decoded.error().why));
  REQUIRE(decoded.ok());
  CHECK((with_sorted_records(decoded.value().snapshot) == with_sorted_records(golden_snapshot())));

  const std::string printed = load(text);
  CHECK(count_of(printed, "string_table: \"\"\n") == 1);
  CHECK(printed.find("format_version: 1\n") != printed.npos);
  CHECK(printed.find("  sequence: 3\n") != printed.npos);
  CHECK(printed.find("  interval_bytes: 524288\n") != printed.npos);
  CHECK(printed.find("duration_nanos: 60000000003\n") != printed.npos);
  CHECK(printed.find("  address: 4194595\n") != printed.npos);  // a location's: 0x400123
}

TEST_CASE("protoc reads a snapshot as a pprof profile") {
  const TempDir directory;
  const std::string message = directory.path() / "message.pb";
  save(message, text_of(message_of(write_snapshot(golden_snapshot()))));
  save(directory.path() / "pprof.proto", kPprofOnly);
  const auto result =
      run_program("protoc --decode=Profile -I " + directory.path().string() + " pprof.proto <" + message);
  REQUIRE(result.exit_code == 0);
  const std::string& out = result.output;
  // Strings are numbered by order of appearance: those of begin() are alloc_objects 1, count 2, alloc_space
  // 3, bytes 4, inuse_objects 5, inuse_space 6, space 7.
  CHECK(
      out.starts_with("sample_type {\n  type: 1\n  unit: 2\n}\nsample_type {\n  type: 3\n  unit: 4\n}\n"
                      "sample_type {\n  type: 5\n  unit: 2\n}\nsample_type {\n  type: 6\n  unit: 4\n}\n"));
  CHECK(
      out.find("sample {\n  location_id: 1\n  location_id: 4\n  location_id: 2\n  value: 10\n  value: 1000\n"
               "  value: 6\n  value: 600\n}\n") != out.npos);
  CHECK(count_of(out, "\nsample {") == 4);
  CHECK(count_of(out, "\nmapping {") == 3);
  CHECK(count_of(out, "\nlocation {") == 4);
  CHECK(out.find("location {\n  id: 3\n  address: 3735928559\n}\n") != out.npos);  // in no module
  CHECK(out.find("period_type {\n  type: 7\n  unit: 4\n}\nperiod: 524288\n") != out.npos);
  CHECK(out.find("default_sample_type: 6\n") != out.npos);
  CHECK(out.find("time_nanos: 1790000060000000004\n") != out.npos);
}

TEST_CASE("fields.hpp has the numbers of snapshot.proto") {
  // kStartRealtimeNanos = 5 there is start_realtime_nanos = 5 here; compared without the names of messages.
  std::multiset<std::string> in_proto = named_numbers(load(MEMTRACE_SOURCE_DIR "/format/snapshot.proto"), 0);
  const auto in_header = named_numbers(load(MEMTRACE_SOURCE_DIR "/format/fields.hpp"), 1);
  CHECK(in_header.size() > 50);
  for (const std::string& field : in_header) {
    INFO(field);
    const auto found = in_proto.find(field);
    CHECK(found != in_proto.end());
    if (found != in_proto.end()) in_proto.erase(found);
  }
}
