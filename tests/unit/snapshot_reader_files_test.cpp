// Would break: someone who names the wrong file is left without knowing what it is and what to do.
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "format/snapshot_reader.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden_snapshot.hpp"
#include "tests/support/message_bytes.hpp"
#include "tests/support/snapshot_builder.hpp"
#include "tests/support/temp_dir.hpp"

using namespace memtrace;
using namespace memtrace::test;

namespace {

std::string why(const std::vector<std::byte>& bytes) {
  const auto result = read_snapshot(bytes);
  return result.ok() ? "it was read" : result.error().why;
}

std::string why_text(std::string_view text) { return why(bytes_of(text)); }

std::string why_file(const std::string& path) {
  const auto result = read_snapshot_file(path);
  return result.ok() ? "it was read" : result.error().why;
}

using Catch::Matchers::Contains;
using namespace std::string_view_literals;

}  // namespace

TEST_CASE("other kinds of files are named, with the tool that opens them") {
  const auto message = message_of(write_snapshot(golden_snapshot()));
  const std::string zeros(100, '\0');
  CHECK_THAT(why_text(""), Contains("is empty"));
  CHECK_THAT(why_text("\x1f\x8b\x08\0"sv), Contains("gzip") && Contains("go tool pprof"));
  CHECK_THAT(why_text("\x7f"
                      "ELF\x02\x01\x01"sv),
             Contains("ELF"));
  CHECK_THAT(why_text("PK\x03\x04 and so on"sv), Contains("zip"));
  CHECK_THAT(why(compress("v 10400 3\nx 7 /usr/bin/a\n")), Contains("heaptrack_print"));
  CHECK_THAT(why(compress("anything else")), Contains("zstd data without a snapshot's head"));
  CHECK_THAT(why(compress(text_of(message))), Contains("recompressed"));
  CHECK_THAT(why(message), Contains("uncompressed message of a snapshot"));
  CHECK_THAT(why_text("\x0a\x04\x08\x01\x10\x02\x12\x03"sv), Contains("pprof profile"));
  CHECK_THAT(why_text(zeros), Contains("only zeros"));
  CHECK_THAT(why_text("just\na text, long enough to have had room for a head\n"), Contains("is text"));
  CHECK_THAT(why_text("\x01\x02\x03\x04 and more of this kind that nobody knows"sv),
             Contains("is no snapshot"));
  CHECK_THAT(why_text("x"), Contains("is text"));
  CHECK_THAT(why(head_frame(100)), Contains("is cut off"));
}

TEST_CASE("what the file system refuses is said") {
  const TempDir directory;
  CHECK_THAT(why_file(directory.path() / "nothing.snap"),
             Contains("cannot be opened: No such file or directory"));
  CHECK_THAT(why_file(directory.path()), Contains("is a directory"));
  const std::string empty = directory.path() / "empty.snap";
  std::ofstream(empty).close();
  CHECK_THAT(why_file(empty), Contains("is empty"));
}

TEST_CASE("a foreign file is refused before it is read whole") {
  const TempDir directory;
  const std::string path = directory.path() / "sparse";
  std::ofstream(path) << "text";
  // More than any memory, and nothing on the disk.
  REQUIRE(truncate(path.c_str(), off_t{1} << 42) == 0);
  CHECK_THAT(why_file(path), Contains("is no snapshot"));
}

TEST_CASE("a snapshot that goes on as a hole is refused within the limit") {
  const TempDir directory;
  const std::string path = directory.path() / "sparse.snap";
  SnapshotBuilder().write(path);
  REQUIRE(truncate(path.c_str(), off_t{1} << 42) == 0);
  const auto result = read_snapshot_file(path, {.max_message_bytes = 1 << 20});
  REQUIRE_FALSE(result.ok());
  CHECK_THAT(result.error().why, Contains("larger than the limit"));
}

TEST_CASE("a snapshot may come through a pipe") {
  const TempDir directory;
  const std::string path = directory.path() / "pipe";
  REQUIRE(mkfifo(path.c_str(), 0600) == 0);
  std::jthread feeder([&] { SnapshotBuilder().write(path); });
  const auto result = read_snapshot_file(path);
  INFO((result.ok() ? "" : result.error().why));
  CHECK(result.ok());
}
