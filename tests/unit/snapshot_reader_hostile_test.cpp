// Would break: memdiff crashing or eating all memory on a file made to do that, checksums and all.
#include <zstd.h>

#include "format/fields.hpp"
#include "format/message_decoder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden_snapshot.hpp"
#include "tests/support/message_bytes.hpp"
#include "tests/support/snapshot_builder.hpp"

using namespace memtrace;
using namespace memtrace::test;

namespace {

using Catch::Matchers::Contains;

// A valid message to add to: repeated fields grow, singular ones are replaced or merged.
// 3 modules, 4 locations, 4 stacks.
MessageBytes golden() { return MessageBytes(message_of(write_snapshot(golden_snapshot()))); }

std::string why(const MessageBytes& message) {
  const auto result = decode_message(message.bytes());
  return result.ok() ? "it was read" : result.error().why;
}

MessageBytes location(std::uint64_t id, std::uint64_t module, std::uint64_t address) {
  namespace f = fields::location;
  return MessageBytes().number(f::kId, id).number(f::kMappingId, module).number(f::kAddress, address);
}

// One record; the columns named in `longer` have a second row.
MessageBytes records(std::uint64_t stack, std::uint64_t thread, std::uint64_t kind,
                     std::uint32_t longer = 0) {
  namespace f = fields::record_batch;
  MessageBytes batch;
  const std::array<std::uint64_t, 8> row = {0, 1, stack, 2, 100, 2, thread, kind};
  for (std::uint32_t field = f::kSampleNumber; field <= f::kKind; ++field) {
    std::vector<std::uint64_t> column = {row[field]};
    if (field == longer) column.push_back(0);
    batch.packed(field, column);
  }
  return batch;
}

}  // namespace

TEST_CASE("ids must be there, and be there once") {
  CHECK_THAT(why(golden().add(fields::kLocation, location(4, 1, 1))), Contains("already taken"));
  CHECK_THAT(why(golden().add(fields::kLocation, location(0, 1, 1))), Contains("id that is 0"));
  CHECK_THAT(why(golden().add(fields::kLocation, location(5, 4, 1))),
             Contains("module 4, which is not there"));
  CHECK_THAT(why(golden().add(fields::kMapping, MessageBytes().number(fields::mapping::kId, 2))),
             Contains("already taken"));
  const auto sample =
      MessageBytes().packed(fields::sample::kLocationId, {5}).packed(fields::sample::kValue, {1, 1, 1, 1});
  CHECK_THAT(why(golden().add(fields::kSample, sample)), Contains("location 5, which is not there"));
}

TEST_CASE("ids need not be 1, 2, 3") {
  auto message = golden();
  message.add(fields::kLocation, location(UINT64_MAX, 3, 77)).add(fields::kLocation, location(100, 0, 78));
  message.add(fields::kSample, MessageBytes()
                                   .packed(fields::sample::kLocationId, {100, UINT64_MAX, 1})
                                   .packed(fields::sample::kValue, {1, 2, 3, 4}));
  message.add(fields::kStacks, MessageBytes().packed(1, {0}).packed(2, {0}).packed(3, {0}));
  const auto result = decode_message(message.bytes());
  INFO((result.ok() ? "" : result.error().why));
  REQUIRE(result.ok());
  const Snapshot& s = result.value().snapshot;
  REQUIRE(s.stacks.size() == 5);
  const std::vector<std::uint32_t> frames(s.frames.begin() + s.stacks[4].first_frame, s.frames.end());
  CHECK(frames == std::vector<std::uint32_t>{5, 4, 0});
  CHECK(s.locations[4].module == 2);
  CHECK(s.locations[5].module == kNoModule);
}

TEST_CASE("records refer to what is there, in columns of one length") {
  CHECK(why(golden().add(fields::kRecords, records(3, 0, 0))) == "it was read");
  CHECK_THAT(why(golden().add(fields::kRecords, records(4, 0, 0))), Contains("stack 4 of 4"));
  CHECK_THAT(why(golden().add(fields::kRecords, records(std::uint64_t{1} << 32, 0, 0))), Contains("stack"));
  CHECK_THAT(why(golden().add(fields::kRecords, records(0, std::uint64_t{1} << 32, 0))),
             Contains("thread serial"));
  for (std::uint32_t field = 1; field <= 7; ++field) {
    CHECK_THAT(why(golden().add(fields::kRecords, records(0, 0, 0, field))), Contains("differ in length"));
  }
}

TEST_CASE("records of unknown kind are left out with a warning, and counted") {
  const auto result = decode_message(golden().add(fields::kRecords, records(0, 0, 9)).bytes());
  REQUIRE(result.ok());
  CHECK(result.value().snapshot.records.size() == golden_snapshot().records.size());
  CHECK(result.value().totals.records == golden_snapshot().records.size() + 1);
  REQUIRE(result.value().snapshot.warnings.size() == 1);
  CHECK_THAT(result.value().snapshot.warnings[0], Contains("1 allocations of kinds"));
}

TEST_CASE("repeated numbers are read packed or not") {
  namespace f = fields::record_batch;
  MessageBytes batch;
  for (std::uint32_t field = f::kSampleNumber; field <= f::kThread; ++field)
    batch.number(field, 2).packed(field, {2});
  const auto result = decode_message(golden().add(fields::kRecords, batch).bytes());
  REQUIRE(result.ok());
  const auto& added = result.value().snapshot.records;
  REQUIRE(added.size() == golden_snapshot().records.size() + 2);
  CHECK(added.back().sample_number == 2);
  CHECK(added.back().address == 2);  // zigzag: twice 1
}

TEST_CASE("values and columns of stacks are complete and not negative") {
  const auto sample = [](const std::vector<std::uint64_t>& values) {
    return MessageBytes().packed(fields::sample::kValue, values);
  };
  CHECK_THAT(why(golden().add(fields::kSample, sample({1, 2, 3}))), Contains("3 values"));
  CHECK_THAT(why(golden().add(fields::kSample, sample({1, 2, 3, 4, 5}))), Contains("5 values"));
  CHECK_THAT(why(golden().add(fields::kSample, sample({1, 2, 3, UINT64_MAX}))), Contains("negative"));
  CHECK_THAT(why(golden().add(fields::kSample, sample({1, 2, 3, 4}))), Contains("one row per stack"));
  CHECK_THAT(why(golden().add(fields::kStacks, MessageBytes().packed(1, {0}))),
             Contains("one row per stack"));
}

TEST_CASE("what occurs once is checked too") {
  const auto sampling = [](std::uint32_t field, std::uint64_t value) {
    return golden().add(fields::kSampling, MessageBytes().number(field, value));
  };
  CHECK_THAT(why(sampling(fields::sampling::kIntervalBytes, 0)), Contains("interval is 0"));
  CHECK_THAT(why(sampling(fields::sampling::kMode, 2)), Contains("newer memdiff"));
  CHECK_THAT(why(golden().number(fields::kFormatVersion, 0)), Contains("no format version"));
  CHECK_THAT(why(golden().add(fields::kProcess, MessageBytes().text(fields::process::kSessionId, "short"))),
             Contains("session id"));
  CHECK_THAT(why(golden().add(fields::kProcess, MessageBytes().number(fields::process::kExe, 99999))),
             Contains("string 99999"));
  CHECK_THAT(why(MessageBytes().number(fields::kFormatVersion, 1)), Contains("which process"));
  CHECK_THAT(why(MessageBytes()), Contains("no format version"));
  const auto reason = golden().add(fields::kTrigger, MessageBytes().number(fields::trigger::kReason, 77));
  const auto result = decode_message(reason.bytes());
  REQUIRE(result.ok());
  CHECK(result.value().snapshot.reason == TriggerReason::kUnknown);
}

TEST_CASE("a build-id cannot name a path, and a module has an end") {
  auto message = golden();
  message.text(fields::kStringTable, "../../etc/passwd");
  std::uint64_t strings = 0;
  protozero::pbf_reader reader(text_of(message.bytes()).data(), message.bytes().size());
  while (reader.next(fields::kStringTable)) {
    ++strings;
    reader.skip();
  }
  namespace f = fields::mapping;
  CHECK_THAT(
      why(message.add(fields::kMapping, MessageBytes().number(f::kId, 9).number(f::kBuildId, strings - 1))),
      Contains("not hexadecimal"));
  CHECK_THAT(why(golden().add(
                 fields::kMapping,
                 MessageBytes().number(f::kId, 9).number(f::kMemoryStart, 2).number(f::kMemoryLimit, 1))),
             Contains("ends before it starts"));
}

TEST_CASE("a short message cannot unfold into endless strings") {
  auto message = golden();
  message.text(fields::kStringTable, std::string(10 << 20, 'x'));
  std::uint64_t index = 0;
  protozero::pbf_reader reader(text_of(message.bytes()).data(), message.bytes().size());
  while (reader.next(fields::kStringTable)) {
    ++index;
    reader.skip();
  }
  const std::vector<std::uint64_t> tags(100'000, index - 1);  // a terabyte of tags
  CHECK_THAT(why(message.add(fields::kProcess, MessageBytes().packed(fields::process::kTag, tags))),
             Contains("beyond measure"));
}

TEST_CASE("deep nesting, groups and broken tags are errors, not recursion") {
  std::string nested;
  for (int i = 0; i < 1000; ++i) nested += "\x12\x7f";
  CHECK_THAT(why(golden().raw(nested)), Contains("is damaged"));
  CHECK_THAT(why(golden().raw("\x0b\x0c")), Contains("not valid protobuf"));
  CHECK_THAT(why(golden().raw(std::string_view("\0", 1))), Contains("not valid protobuf"));
  CHECK_THAT(why(golden().raw("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")),
             Contains("not valid protobuf"));
}

TEST_CASE("a known field of another wire type is an unknown field") {
  CHECK(why(golden().number(fields::kRecords, 5).text(fields::kFormatVersion, "one")) == "it was read");
}

TEST_CASE("a stack may be longer than any that is written") {
  const std::vector<std::uint64_t> frames(100'000, 1);
  auto message = golden();
  message.add(fields::kSample, MessageBytes().packed(1, frames).packed(2, {0, 0, 0, 0}));
  message.add(fields::kStacks, MessageBytes().packed(1, {0}).packed(2, {0}).packed(3, {1}));
  const auto result = decode_message(message.bytes());
  REQUIRE(result.ok());
  CHECK(result.value().snapshot.stacks.back().frame_count == frames.size());
}

TEST_CASE("a small file that unfolds beyond what its head says is stopped there") {
  const std::string zeros(64 << 20, '\0');  // compresses ten-thousandfold
  const auto bomb = compress(zeros);
  REQUIRE(bomb.size() < 10'000);
  const auto result = read_snapshot(join({head_frame(1000), bomb, tail_frame({.message_bytes = 1000})}));
  REQUIRE_FALSE(result.ok());
  CHECK_THAT(result.error().why, Contains("more than its head says"));
  const auto short_of = read_snapshot(join(
      {head_frame(std::uint64_t{3} << 27), bomb, tail_frame({.message_bytes = std::uint64_t{3} << 27})}));
  REQUIRE_FALSE(short_of.ok());
  CHECK_THAT(short_of.error().why, Contains("does not hold as much"));
}

TEST_CASE("head, message and tail must agree") {
  const auto message = golden().bytes();
  const auto body = compress(text_of(message));
  const Snapshot g = golden_snapshot();
  const container::Totals right = {message.size(), g.records.size(), g.stacks.size(), g.locations.size(),
                                   g.modules.size()};
  const auto outcome = [&](const container::Totals& totals, std::uint32_t head, std::uint32_t tail) {
    const auto result =
        read_snapshot(join({head_frame(message.size(), head), body, tail_frame(totals, tail)}));
    return result.ok() ? "it was read" : result.error().why;
  };
  CHECK(outcome(right, 1, 1) == "it was read");
  CHECK_THAT(outcome(right, 2, 1), Contains("different formats"));
  CHECK_THAT(outcome(right, 2, 2), Contains("different formats"));
  for (std::uint64_t container::Totals::*field :
       {&container::Totals::message_bytes, &container::Totals::records, &container::Totals::samples,
        &container::Totals::locations, &container::Totals::modules}) {
    auto wrong = right;
    ++(wrong.*field);
    CHECK_THAT(outcome(wrong, 1, 1), Contains("is damaged"));
  }
}

TEST_CASE("a window larger than any our writer needs is refused") {
  const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(), &ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_windowLog, 27);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_contentSizeFlag, 0);
  std::vector<std::byte> frame(1000);
  ZSTD_outBuffer out{frame.data(), frame.size(), 0};
  ZSTD_inBuffer in{"text", 4, 0};
  ZSTD_compressStream2(context.get(), &out, &in,
                       ZSTD_e_flush);  // the size stays unknown, the window as asked for
  REQUIRE(ZSTD_compressStream2(context.get(), &out, &in, ZSTD_e_end) == 0);
  frame.resize(out.pos);
  const auto result = read_snapshot(join({head_frame(4), frame, tail_frame({.message_bytes = 4})}));
  REQUIRE_FALSE(result.ok());
  CHECK_THAT(result.error().why, Contains("window"));
}
