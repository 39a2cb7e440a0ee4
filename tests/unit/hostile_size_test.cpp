// Would break: memdiff taking all memory for a small file, which zstd and protobuf make easy: a few bytes
// stand for gigabytes of message, two bytes of message for a hundred of memory.
#include "analyzer/pipeline.hpp"
#include "analyzer/symbols/elf_symbolizer.hpp"
#include "format/fields.hpp"
#include "format/message_decoder.hpp"
#include "format/snapshot_reader.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/message_bytes.hpp"
#include "tests/support/snapshot_builder.hpp"

using namespace memtrace;
using namespace memtrace::test;

namespace {

using Catch::Matchers::Contains;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint32_t kMany = 50'000;

MessageBytes message() {
  SnapshotBuilder builder;
  builder.add_stack({builder.add_location(0x1000)});
  return MessageBytes(message_of(builder.bytes()));
}

std::string why(const MessageBytes& message, std::uint64_t memory_budget) {
  const auto result = decode_message(message.bytes(), memory_budget);
  return result.ok() ? "it was read" : result.error().why;
}

MessageBytes location(std::uint64_t id) { return MessageBytes().number(fields::location::kId, id); }
MessageBytes module(std::uint64_t id) { return MessageBytes().number(fields::mapping::kId, id); }
MessageBytes thread(std::uint64_t serial) { return MessageBytes().number(fields::thread::kSerial, serial); }
MessageBytes stack(std::size_t frames) {
  return MessageBytes()
      .packed(fields::sample::kLocationId, std::vector<std::uint64_t>(frames, 1))
      .packed(fields::sample::kValue, {1, 1, 1, 1});
}
MessageBytes stack_row() { return MessageBytes().packed(1, {0}).packed(2, {0}).packed(3, {0}); }

MessageBytes records(std::size_t rows) {
  namespace f = fields::record_batch;
  MessageBytes batch;
  for (std::uint32_t field = f::kSampleNumber; field < f::kKind; ++field)
    batch.packed(field, std::vector<std::uint64_t>(rows, 0));
  return batch;
}

// A file whose head and tail claim a message of this size.
std::string claim(std::uint64_t message_bytes) {
  const auto file = join({head_frame(message_bytes), compress(text_of(message().bytes())),
                          tail_frame({.message_bytes = message_bytes})});
  const auto result = read_snapshot(file);
  return result.ok() ? "it was read" : result.error().why;
}

}  // namespace

TEST_CASE("a message is at most so much larger than its file") {
  CHECK_THAT(claim(500 * kMiB), Contains("does not hold as much"));
  CHECK_THAT(claim(520 * kMiB), Contains("more than the limit"));
  CHECK_THAT(claim(UINT64_MAX), Contains("more than the limit"));
}

TEST_CASE("what a message takes in memory has a budget, of whatever parts it consists") {
  struct Kind {
    const char* name;
    std::uint32_t field;
    MessageBytes (*part)(std::uint64_t);
  };
  const std::vector<Kind> kinds = {
      {"strings", fields::kStringTable, [](std::uint64_t) { return MessageBytes(); }},
      {"locations", fields::kLocation, [](std::uint64_t i) { return location(i + 2); }},
      {"modules", fields::kMapping, [](std::uint64_t i) { return module(i + 1); }},
      {"threads", fields::kThread, [](std::uint64_t i) { return thread(i); }},
      {"stacks", fields::kSample, [](std::uint64_t) { return stack(3); }},
      {"columns", fields::kStacks, [](std::uint64_t) { return stack_row(); }},
      {"records", fields::kRecords, [](std::uint64_t) { return records(1); }}};
  for (const Kind& kind : kinds) {
    INFO(kind.name);
    MessageBytes many = message();
    for (std::uint32_t i = 0; i < kMany; ++i) many.add(kind.field, kind.part(i));
    CHECK_THAT(why(many, kMany * 8), Contains("more memory than any snapshot of its size"));
    CHECK_THAT(why(many, 512 * kMiB), !Contains("more memory"));
  }
}

TEST_CASE("one part alone does not take more than the budget either") {
  CHECK_THAT(why(message().add(fields::kRecords, records(kMany)), kMany * 40), Contains("more memory"));
  CHECK(why(message().add(fields::kRecords, records(kMany)), kMany * 100) == "it was read");
  MessageBytes with_stack = message();
  with_stack.add(fields::kSample, stack(kMany)).add(fields::kStacks, stack_row());
  CHECK_THAT(why(with_stack, kMany * 3), Contains("more memory"));
  CHECK(why(with_stack, kMany * 20) == "it was read");
}

TEST_CASE("a stack has at most 131,072 frames") {
  const auto with = [](std::size_t frames) {
    return message().add(fields::kSample, stack(frames)).add(fields::kStacks, stack_row());
  };
  CHECK(why(with(131'072), kMiB << 5) == "it was read");
  CHECK_THAT(why(with(131'073), kMiB << 5), Contains("a stack has 131073 frames"));
}

TEST_CASE("a row shows at most 4,096 frames in JSON, however many its stack has") {
  SnapshotBuilder builder;
  const std::vector<std::uint32_t> frames(5000, builder.add_location(0x1000));
  builder.add_live(builder.add_stack(frames), 1, 100);
  std::vector<NamedSnapshot> snapshots = {{"a.snap", builder.snapshot()}};
  Options options;
  options.format = OutputFormat::kJson;
  const auto symbolizer = make_elf_symbolizer({.sysroot = "", .debug_paths = {}, .debuginfod = false});
  const auto report = make_report(snapshots, options, *symbolizer, {});
  REQUIRE(report.ok());
  const std::string& text = report.value().text;
  std::size_t shown = 0;
  for (auto at = text.find("\"address\""); at != std::string::npos; at = text.find("\"address\"", at + 1))
    ++shown;
  CHECK(shown == 4096);
}

TEST_CASE("equal blocks, which compress best, are far from the limits") {
  SnapshotBuilder builder;
  const auto one = builder.add_stack({builder.add_location(0x1000)});
  builder.add_live(one, 200'000, 24);
  const auto file = builder.bytes();
  const auto unpacked = message_of(file).size();
  INFO(file.size() << " bytes, message " << unpacked);
  CHECK(unpacked < 8 * file.size());                   // of 16
  CHECK(200'000 * sizeof(Record) < 32 * file.size());  // of 64
  CHECK(read_snapshot(file).ok());
}
