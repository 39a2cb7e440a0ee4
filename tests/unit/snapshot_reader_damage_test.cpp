// Would break: a snapshot cut short or damaged on its way is shown as if it were whole, or crashes memdiff.
#include <random>

#include "format/container.hpp"
#include "format/snapshot_reader.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden_snapshot.hpp"
#include "tests/support/message_bytes.hpp"
#include "tests/support/snapshot_builder.hpp"

using namespace memtrace;
using namespace memtrace::test;

namespace {

std::vector<std::byte> large_file() {
  SnapshotBuilder builder;
  for (std::uint32_t i = 0; i < 1000; ++i) builder.add_stack({builder.add_location(0x1000 + i)});
  std::mt19937_64 random(1);
  for (std::uint32_t i = 0; i < 30'000; ++i) {
    builder.add_record({.sample_number = i,
                        .address = random() >> 20,
                        .size_bytes = random() % 10'000,
                        .birth_ns = static_cast<std::int64_t>(random() >> 30),
                        .stack = i % 1000});
  }
  return builder.bytes();
}

void check_refused(std::span<const std::byte> bytes) {
  const auto result = read_snapshot(bytes);
  REQUIRE_FALSE(result.ok());
  CHECK_FALSE(result.error().why.empty());
  CHECK(result.error().offset <= bytes.size());
}

}  // namespace

TEST_CASE("a small file cut at any byte is refused") {
  const auto whole = write_snapshot(golden_snapshot());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    INFO(size << " of " << whole.size() << " bytes");
    check_refused(std::span(whole).first(size));
  }
}

TEST_CASE("a file that lost its end says so") {
  const auto whole = large_file();
  for (std::size_t percent = 1; percent < 100; ++percent) {
    INFO(percent << " %");
    const auto result = read_snapshot(std::span(whole).first(whole.size() * percent / 100));
    REQUIRE_FALSE(result.ok());
    CHECK(result.error().why.find("is cut off") != std::string::npos);
  }
}

TEST_CASE("no bit of a file can flip unnoticed") {
  const auto whole = write_snapshot(golden_snapshot());
  std::size_t harmless = 0;
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    auto damaged = whole;
    damaged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const auto result = read_snapshot(damaged);
    INFO("bit " << bit % 8 << " of byte " << bit / 8);
    if (result.ok()) {
      ++harmless;
      REQUIRE((with_sorted_records(result.value()) == with_sorted_records(golden_snapshot())));
    } else {
      CHECK_FALSE(result.error().why.empty());
    }
  }
  // The reserved words of head and tail, and a few bits that mean nothing to zstd.
  CHECK(harmless >= 64);
  CHECK(harmless < 100);
}

TEST_CASE("random damage never gets past the reader") {
  const auto whole = large_file();
  std::mt19937_64 random(7);
  for (int i = 0; i < 200; ++i) {
    auto damaged = whole;
    const std::size_t at =
        container::kHeadBytes + random() % (whole.size() - container::kHeadBytes - container::kTailBytes);
    const std::size_t size = 1 + random() % 50;
    for (std::size_t k = at; k < std::min(at + size, damaged.size() - container::kTailBytes); ++k) {
      damaged[k] = static_cast<std::byte>(random());
    }
    if (damaged == whole) continue;
    check_refused(damaged);
  }
}

TEST_CASE("a head without its total is a file that was never finished") {
  auto bytes = write_snapshot(golden_snapshot());
  container::store(&bytes[container::kMessageBytesAt], std::uint64_t{0});
  const auto result = read_snapshot(bytes);
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().why.find("never finished") != std::string::npos);
}

TEST_CASE("two snapshots in one file are refused") {
  const auto one = write_snapshot(golden_snapshot());
  const auto result = read_snapshot(join({one, one}));
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().offset == one.size());
  CHECK(result.error().why.find("two snapshots") != std::string::npos);
}
