// Would break: any value that reaches a report wrong or not at all; old snapshots that can no longer be read.
#include "format/snapshot_reader.hpp"

#include <random>

#include "format/container.hpp"
#include "format/fields.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden_snapshot.hpp"
#include "tests/support/message_bytes.hpp"
#include "tests/support/snapshot_builder.hpp"
#include "tests/support/temp_dir.hpp"

using namespace memtrace;
using namespace memtrace::test;

namespace {

Snapshot read(const std::vector<std::byte>& bytes) {
  auto result = read_snapshot(bytes);
  INFO((result.ok() ? "" : result.error().why));
  REQUIRE(result.ok());
  return std::move(result).value();
}

// Field by field, so that a failure names the field.
void check_equal(const Snapshot& a, const Snapshot& b) {
  CHECK(a.format_version == b.format_version);
  CHECK(a.session == b.session);
  CHECK(a.pid == b.pid);
  CHECK(a.ppid == b.ppid);
  CHECK(a.boot_id == b.boot_id);
  CHECK(a.exe == b.exe);
  CHECK(a.host == b.host);
  CHECK(a.tags == b.tags);
  CHECK(a.rss_bytes == b.rss_bytes);
  CHECK(a.start_realtime_ns == b.start_realtime_ns);
  CHECK(a.start_monotonic_ns == b.start_monotonic_ns);
  CHECK(a.reason == b.reason);
  CHECK(a.label == b.label);
  CHECK(a.sequence == b.sequence);
  CHECK(a.realtime_ns == b.realtime_ns);
  CHECK(a.monotonic_ns == b.monotonic_ns);
  CHECK(a.boottime_ns == b.boottime_ns);
  CHECK(a.mode == b.mode);
  CHECK(a.interval_bytes == b.interval_bytes);
  CHECK(a.fixed_seed == b.fixed_seed);
  CHECK(a.max_frames == b.max_frames);
  CHECK(a.unwinder == b.unwinder);
  CHECK((a.modules == b.modules));
  CHECK((a.locations == b.locations));
  CHECK(a.frames == b.frames);
  CHECK((a.stacks == b.stacks));
  CHECK((with_sorted_records(a).records == with_sorted_records(b).records));
  CHECK((a.threads == b.threads));
  CHECK(a.self == b.self);
  CHECK(a.warnings == b.warnings);
  CHECK((with_sorted_records(a) == with_sorted_records(b)));  // what the list above may have forgotten
}

// Any snapshot that a writer can write.
Snapshot random_snapshot(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto below = [&](std::uint64_t bound) { return random() % bound; };
  // Numbers of every size, the largest included.
  const auto number = [&]() -> std::uint64_t { return below(20) == 0 ? UINT64_MAX : random() >> below(64); };
  const auto positive = [&] { return number() & INT64_MAX; };
  const auto signed_number = [&] { return static_cast<std::int64_t>(number()); };
  const auto index = [&](std::size_t size) { return static_cast<std::uint32_t>(below(size)); };
  const auto text = [&] {
    static const std::vector<std::string> kTexts = {"", "a", "count", "/srv/caf\xc3\xa9",
                                                    std::string(300, 'p')};
    return kTexts[below(kTexts.size())];
  };
  Snapshot s;
  s.format_version = kFormatVersion;
  for (std::uint8_t& byte : s.session.bytes) byte = static_cast<std::uint8_t>(random());
  s.pid = number();
  s.ppid = number();
  s.boot_id = text();
  s.exe = text();
  s.host = text();
  for (std::uint64_t i = below(4); i > 0; --i) s.tags.push_back(std::string("k").append(std::to_string(i)));
  s.rss_bytes = number();
  s.start_realtime_ns = signed_number();
  s.start_monotonic_ns = signed_number() / 2;
  s.reason = static_cast<TriggerReason>(below(4));
  s.label = text();
  s.sequence = number();
  s.realtime_ns = signed_number();
  s.monotonic_ns = signed_number() / 2;
  s.boottime_ns = signed_number();
  s.mode = static_cast<SamplingMode>(below(2));
  s.interval_bytes = std::max<std::uint64_t>(number(), 1);
  s.fixed_seed = below(2) == 1;
  s.max_frames = static_cast<std::uint32_t>(number());
  s.unwinder = text();
  for (std::uint64_t i = below(6); i > 0; --i) {
    const std::uint64_t start = number();
    s.modules.push_back({start, std::max(start, number()), number(), text(), below(2) == 1 ? "00ff" : ""});
  }
  for (std::uint64_t i = below(50); i > 0; --i) {
    const bool in_module = !s.modules.empty() && below(3) != 0;
    s.locations.push_back({LookupAddress{number()}, in_module ? index(s.modules.size()) : kNoModule});
  }
  for (std::uint64_t i = below(seed % 10 == 0 ? 5000 : 40); i > 0; --i) {
    Stack stack{static_cast<std::uint32_t>(s.frames.size()),
                0,
                below(2) == 1,
                positive(),
                positive(),
                number(),
                number(),
                positive(),
                positive()};
    stack.frame_count = s.locations.empty() ? 0 : index(SnapshotWriter::kMaxFrames + 1);
    for (std::uint32_t f = 0; f < stack.frame_count; ++f) s.frames.push_back(index(s.locations.size()));
    s.stacks.push_back(stack);
  }
  const bool only_heap = below(2) == 1;
  for (std::uint64_t i = s.stacks.empty() ? 0 : below(seed % 10 == 0 ? 20'000 : 300); i > 0; --i) {
    s.records.push_back({number(), number(), number(), signed_number(), index(s.stacks.size()),
                         static_cast<std::uint32_t>(number()),
                         only_heap ? AllocKind::kHeap : static_cast<AllocKind>(below(5))});
  }
  for (std::uint64_t i = below(20); i > 0; --i)
    s.threads[static_cast<std::uint32_t>(number())] = {number(), text()};
  for (std::uint64_t i = below(20); i > 0; --i)
    s.self[std::string("counter").append(std::to_string(below(50)))] = number();
  return s;
}

}  // namespace

TEST_CASE("every field survives writing and reading") {
  check_equal(read(write_snapshot(golden_snapshot())), golden_snapshot());
}

TEST_CASE("an empty snapshot survives writing and reading") {
  const SnapshotBuilder empty;
  check_equal(read(empty.bytes()), empty.snapshot());
}

TEST_CASE("random snapshots survive writing and reading") {
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    INFO("seed " << seed);
    const Snapshot snapshot = random_snapshot(seed);
    const Snapshot back = read(write_snapshot(snapshot));
    REQUIRE((with_sorted_records(back) == with_sorted_records(snapshot)));
  }
}

TEST_CASE("records of several batches keep what belongs to each row") {
  for (const std::uint32_t count : {8191U, 8192U, 8193U, 30'000U}) {
    SnapshotBuilder builder;
    for (std::uint32_t i = 0; i < 100; ++i) builder.add_stack({});
    std::mt19937_64 random(count);
    for (std::uint32_t i = 0; i < count; ++i) {
      // The highest and the lowest address, and many in between.
      const std::uint64_t address = i == 5 ? UINT64_MAX : i == 7 ? 0 : random() >> (random() % 3 * 17);
      builder.add_record({.sample_number = i,
                          .address = address,
                          .size_bytes = (address >> 20) ^ i,
                          .birth_ns = static_cast<std::int64_t>(address >> 1),
                          .stack = i % 100,
                          .thread = i});
    }
    check_equal(read(builder.bytes()), builder.snapshot());
  }
}

TEST_CASE("the golden file of format 1 reads as it was written") {
  const auto result = read_snapshot_file(MEMTRACE_SOURCE_DIR "/tests/data/v1.snap");
  INFO((result.ok() ? "" : result.error().why));
  REQUIRE(result.ok());
  check_equal(result.value(), golden_snapshot());
}

TEST_CASE("the builder counts what it adds") {
  SnapshotBuilder builder;
  const auto stack = builder.add_stack({builder.add_location(0x1000)});
  builder.add_live(stack, 3, 100);
  builder.add_live(stack, 1, 4096, 0, AllocKind::kReserved);
  CHECK(builder.snapshot().records.size() == 4);
  CHECK(builder.stack(stack).live_count == 3);
  CHECK(builder.stack(stack).live_bytes == 300);
  CHECK(builder.stack(stack).allocated_bytes == 4396);
  const TempDir directory;
  const std::string path = directory.path() / "a.snap";
  builder.write(path);
  const auto result = read_snapshot_file(path);
  REQUIRE(result.ok());
  check_equal(result.value(), builder.snapshot());
}

TEST_CASE("a message in several zstd frames, with foreign frames between, is read whole") {
  const auto snap = write_snapshot(golden_snapshot());
  const auto message = message_of(snap);
  const std::string_view text = text_of(message);
  const std::vector<std::byte> tail(snap.end() - container::kTailBytes, snap.end());
  const std::string_view foreign("\x50\x2a\x4d\x18\x03\0\0\0abc", 11);
  const auto parts = join({head_frame(message.size()), compress(text.substr(0, 100)), bytes_of(foreign),
                           compress(text.substr(100, 1)), compress(""), compress(text.substr(101)), tail});
  check_equal(read(parts), golden_snapshot());
}

TEST_CASE("a newer format is read as far as it is known, with one warning") {
  SnapshotBuilder builder;
  builder.add_live(builder.add_stack({builder.add_location(0x1000)}), 2, 100);
  MessageBytes message(message_of(builder.bytes()));
  message.number(fields::kFormatVersion, 7);  // the last one counts
  message.number(1100, 5).text(1101, "something new").packed(1102, {1, 2, 3});
  message.raw(
      std::string_view("\x81\x45"
                       "12345678",
                       10));  // field 1104, fixed64
  const container::Totals totals = {message.bytes().size(), 2, 1, 1, 0};
  const auto result = read(
      join({head_frame(totals.message_bytes, 7), compress(text_of(message.bytes())), tail_frame(totals, 7)}));
  REQUIRE(result.warnings.size() == 1);
  CHECK(result.warnings[0].find("format 7") != std::string::npos);
  Snapshot expected = builder.snapshot();
  expected.format_version = 7;
  expected.warnings = result.warnings;
  check_equal(result, expected);
}

TEST_CASE("the uncompressed size is limited") {
  const auto snap = write_snapshot(golden_snapshot());
  const std::size_t size = message_of(snap).size();
  CHECK(read_snapshot(snap, {.max_message_bytes = size}).ok());
  const auto refused = read_snapshot(snap, {.max_message_bytes = size - 1});
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().why.find("limit") != std::string::npos);
}
