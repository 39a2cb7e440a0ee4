// Would break: P1. A malloc while a snapshot is written may wait for a lock that a stopped thread of the host
// holds.
//
// The heap of this program, zstd's included, is replaced and its calls are counted. Sanitizers bring their
// own: their builds leave this file empty.
#include "tests/support/catch.hpp"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#include <array>
#include <cerrno>

#include "format/snapshot_writer.hpp"
#include "tests/support/counted_heap.hpp"

using namespace memtrace;

namespace {

alignas(64) std::array<std::byte, 4 << 20> workspace;

ByteSink discard() {
  return {nullptr, [](void*, const void*, std::size_t) { return 0; },
          [](void*, std::uint64_t, const void*, std::size_t) { return 0; }};
}

}  // namespace

TEST_CASE("the count sees an allocation") {
  {
    const test::CountCalls count;
    void* volatile block = std::malloc(16);
    std::free(block);
  }
  CHECK(test::allocations() == 1);
}

TEST_CASE("a snapshot is written without one allocation, and errno is kept") {
  int error = -1;
  errno = E2BIG;
  {
    const test::CountCalls count;
    SnapshotWriter writer(std::span{workspace}.first(SnapshotWriter::workspace_bytes()), discard());
    writer.begin();
    writer.process({.boot_id = "boot", .exe = "/srv/a", .host = "host", .tags = "a=1,b=2"});
    writer.trigger({.label = "label"});
    writer.clocks({});
    writer.sampling({.unwinder = "cfi"});
    const std::array<std::uint64_t, 30> frames = {1, 1, 1};
    for (std::uint32_t i = 0; i < 100'000; ++i) {
      writer.record({.sample_number = i,
                     .address = std::uint64_t{i * 2654435761U} << 16,
                     .size_bytes = i,
                     .birth_ns = std::int64_t{i} << 20,
                     .stack = i / 20});
      if (i % 20 == 0) writer.sample({.location_ids = frames, .live_count = i});
      if (i % 100 == 0) writer.thread(i, i, "worker");
    }
    writer.location(1, 1, LookupAddress{1});
    writer.module(1, {.path = "/srv/a"});
    writer.counter("lost", 1);
    error = writer.finish();
  }
  CHECK(error == 0);
  CHECK(test::allocations() == 0);
  CHECK(errno == E2BIG);
}

#endif
