// Would break: the shim, inside somebody else's process: an allocation while a snapshot is written, a stack
// overflow on the small stack of the snapshot thread, a full disk that goes unnoticed.
#include "format/snapshot_writer.hpp"

#include <pthread.h>

#include <cerrno>
#include <cstring>
#include <random>

#include "format/snapshot_reader.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/message_bytes.hpp"
#include "tests/support/snapshot_builder.hpp"

using namespace memtrace;
using namespace memtrace::test;

namespace {

// Sink and workspace without a heap.
alignas(64) std::array<std::byte, 4 << 20> workspace_memory;
std::array<std::byte, 8 << 20> file_memory;
std::size_t file_size;

std::span<std::byte> workspace() {
  return std::span(workspace_memory).first(SnapshotWriter::workspace_bytes());
}

ByteSink static_sink() {
  file_size = 0;
  return {nullptr,
          [](void*, const void* data, std::size_t size) {
            if (file_size + size > file_memory.size()) return ENOSPC;
            std::memcpy(&file_memory[file_size], data, size);
            file_size += size;
            return 0;
          },
          [](void*, std::uint64_t offset, const void* data, std::size_t size) {
            std::memcpy(&file_memory[offset], data, size);
            return 0;
          }};
}

std::span<const std::byte> file() { return std::span(file_memory).first(file_size); }

// Every call, with enough data for several batches and zstd blocks.
int write_much(const ByteSink& sink) {
  SnapshotWriter writer(workspace(), sink);
  writer.begin();
  writer.process({.pid = 1, .boot_id = "boot", .exe = "/srv/a", .host = "h", .tags = "a=1,b=2,,c"});
  writer.trigger({.reason = TriggerReason::kApi, .label = "label", .sequence = 3});
  writer.clocks({.realtime_ns = 1, .monotonic_ns = 2, .boottime_ns = 3});
  writer.sampling(
      {.mode = SamplingMode::kPoissonBytes, .interval_bytes = 4096, .max_frames = 64, .unwinder = "fp"});
  std::minstd_rand random(1);
  std::array<std::uint64_t, SnapshotWriter::kMaxFrames> frames;
  for (std::uint32_t i = 0; i < 20'000; ++i) {
    writer.record({.sample_number = i,
                   .address = std::uint64_t{random()} << 16,
                   .size_bytes = random(),
                   .birth_ns = static_cast<std::int64_t>(random()) << 20,
                   .stack = i % 5000,
                   .thread = i % 9,
                   .kind = i % 1000 == 0 ? AllocKind::kMmap : AllocKind::kHeap});
    if (i < 5000) {
      for (std::uint64_t& frame : frames) frame = 1 + random() % 100;
      writer.sample({.location_ids = std::span(frames).first(i % frames.size()), .live_count = i});
    }
    if (i < 100) {
      writer.location(i + 1, i % 3, LookupAddress{random()});
      writer.thread(i, i, "worker");
      std::array<char, 3> name = {'c', static_cast<char>('0' + i / 10), static_cast<char>('0' + i % 10)};
      writer.counter({name.data(), name.size()}, i);
    }
  }
  writer.module(1, {.start = 1, .end = 2, .path = "/srv/a", .build_id = {.bytes = {0xab}, .size = 1}});
  writer.module(2, {.start = 3, .end = 4, .path = "/srv/b"});
  return writer.finish();
}

Snapshot read(std::span<const std::byte> bytes) {
  auto result = read_snapshot(bytes);
  INFO((result.ok() ? "" : result.error().why));
  REQUIRE(result.ok());
  return std::move(result).value();
}

}  // namespace

#if !defined(__SANITIZE_THREAD__)  // it keeps 900 KiB of its own on each stack
TEST_CASE("writing fits a stack of 64 KiB, most of it left over") {
  constexpr std::size_t kStack = 64 * 1024;
  // The C library's own thread data live at the end of the stack: look at the use of the rest.
  alignas(4096) static std::array<std::byte, kStack> stack;
  stack.fill(std::byte{0xA5});
  pthread_attr_t attributes;
  REQUIRE(pthread_attr_init(&attributes) == 0);
  REQUIRE(pthread_attr_setstack(&attributes, stack.data(), stack.size()) == 0);
  pthread_t thread;
  static int error;
  error = -1;
  REQUIRE(pthread_create(
              &thread, &attributes,
              [](void*) -> void* {
                error = write_much(static_sink());
                return nullptr;
              },
              nullptr) == 0);
  REQUIRE(pthread_join(thread, nullptr) == 0);
  pthread_attr_destroy(&attributes);
  REQUIRE(error == 0);
  std::size_t untouched = 0;
  while (untouched < stack.size() && stack[untouched] == std::byte{0xA5}) ++untouched;
  INFO("stack used, thread data included: " << kStack - untouched);
#if !defined(__SANITIZE_ADDRESS__)
  CHECK(kStack - untouched < 24 * 1024);
#endif
  CHECK(read(file()).records.size() == 20'000);
}
#endif

TEST_CASE("the error of any append or of the last overwrite is returned, and ends the writing") {
  static int calls;
  static int fail_at;
  static int calls_after;
  const ByteSink failing{nullptr,
                         [](void*, const void*, std::size_t) {
                           ++calls;
                           if (fail_at > 0 && calls > fail_at) ++calls_after;
                           return calls == fail_at ? ENOSPC : calls > fail_at && fail_at > 0 ? EIO : 0;
                         },
                         [](void*, std::uint64_t, const void*, std::size_t) {
                           if (fail_at > 0 && calls >= fail_at) ++calls_after;
                           return fail_at == -1 ? EROFS : 0;
                         }};
  calls = fail_at = calls_after = 0;
  REQUIRE(write_much(failing) == 0);
  const int appends = calls;
  REQUIRE(appends > 10);
  for (int at = 1; at <= appends; ++at) {
    calls = calls_after = 0;
    fail_at = at;
    CHECK(write_much(failing) == ENOSPC);
    CHECK(calls_after == 0);
  }
  calls = calls_after = 0;
  fail_at = -1;
  CHECK(write_much(failing) == EROFS);
}

TEST_CASE("a workspace that is too small or not aligned is refused, and every call survives it") {
  for (const auto room : {workspace().first(workspace().size() - 1), std::span<std::byte>(),
                          std::span(workspace_memory).subspan(8, SnapshotWriter::workspace_bytes())}) {
    SnapshotWriter writer(room, static_sink());
    writer.begin();
    writer.process({});
    writer.trigger({});
    writer.clocks({});
    writer.sampling({});
    writer.record({});
    writer.sample({});
    writer.module(1, {});
    writer.location(1, 0, {});
    writer.thread(1, 1, "name");
    writer.counter("name", 1);
    CHECK(writer.string("text") == StringIndex::kEmpty);
    CHECK(writer.error() == EINVAL);
    CHECK(writer.finish() == EINVAL);
    CHECK(file_size == 0);
  }
}

TEST_CASE("calls in a wrong order are errors, not broken files") {
  SECTION("never begun") {
    SnapshotWriter writer(workspace(), static_sink());
    writer.record({});
    CHECK(writer.finish() == EINVAL);
    CHECK(file_size == 0);
  }
  SECTION("a singular message twice") {
    SnapshotWriter writer(workspace(), static_sink());
    writer.begin();
    writer.clocks({});
    writer.clocks({});
    CHECK(writer.error() == EINVAL);
    CHECK(writer.finish() == EINVAL);
  }
  SECTION("anything after finish() changes nothing") {
    SnapshotWriter writer(workspace(), static_sink());
    writer.begin();
    writer.process({});
    writer.clocks({});
    writer.sampling({});
    REQUIRE(writer.finish() == 0);
    const std::size_t size = file_size;
    writer.record({});
    writer.counter("name", 1);
    CHECK(writer.finish() == 0);
    CHECK(file_size == size);
    CHECK(read(file()).records.empty());
  }
}

TEST_CASE("a string that comes again is written once") {
  SnapshotWriter writer(workspace(), static_sink());
  writer.begin();
  const StringIndex first = writer.string("a name");
  CHECK(first != StringIndex::kEmpty);
  CHECK(writer.string("a name") == first);
  CHECK(writer.string("a namf") != first);
  CHECK(writer.string("") == StringIndex::kEmpty);
  for (std::uint32_t i = 0; i < 100; ++i) writer.thread(i, i, "the name of every worker");
  REQUIRE(writer.finish() == 0);
  const auto message = message_of({file().begin(), file().end()});
  const std::string text(text_of(message));
  const auto at = text.find("the name of every worker");
  REQUIRE(at != text.npos);
  CHECK(text.find("the name of every worker", at + 1) == text.npos);
}

TEST_CASE("what cannot be kept as it is keeps the file readable") {
  SnapshotWriter writer(workspace(), static_sink());
  writer.begin();
  const std::string long_path(100'000, 'x');
  std::string tags;
  for (int i = 0; i < 100; ++i) tags.append("k").append(std::to_string(i)).append("=v,");
  writer.process({.exe = "/srv/caf\xe9/\xc3\xa9\xff\xe2\x82", .host = long_path, .tags = tags});
  writer.clocks({.monotonic_ns = INT64_MIN});
  writer.sampling({});
  std::vector<std::uint64_t> frames(SnapshotWriter::kMaxFrames + 1, 1);
  writer.sample({.location_ids = frames, .allocated_bytes = UINT64_MAX});
  writer.sample({.location_ids = std::span(frames).first(SnapshotWriter::kMaxFrames)});
  writer.location(1, 0, LookupAddress{1});
  writer.module(1, {.path = "/a", .build_id = {.bytes = {}, .size = 255}});
  REQUIRE(writer.finish() == 0);
  const Snapshot snapshot = read(file());
  CHECK(snapshot.exe == "/srv/caf?/\xc3\xa9???");
  CHECK(snapshot.host == std::string(64 * 1024, 'x'));
  CHECK(snapshot.tags.size() == 64);
  REQUIRE(snapshot.stacks.size() == 2);
  CHECK(snapshot.stacks[0].frame_count == SnapshotWriter::kMaxFrames);
  CHECK(snapshot.stacks[0].truncated);
  CHECK(snapshot.stacks[0].allocated_bytes == INT64_MAX);
  CHECK(snapshot.stacks[1].frame_count == SnapshotWriter::kMaxFrames);
  CHECK_FALSE(snapshot.stacks[1].truncated);
  CHECK(snapshot.modules[0].build_id == std::string(64, '0'));
}
