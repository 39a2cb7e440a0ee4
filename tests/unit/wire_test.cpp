// Would break: every number in a snapshot, for every reader of protobuf; or a write past the end of the
// workspace.
#include "format/wire.hpp"

#include <array>
#include <protozero/pbf_reader.hpp>
#include <random>

#include "tests/support/catch.hpp"

namespace wire = memtrace::wire;

namespace {

protozero::data_view view(const wire::Encoder& encoder) {
  return {reinterpret_cast<const char*>(encoder.data()), encoder.size()};
}

std::vector<std::uint64_t> edges() {
  std::vector<std::uint64_t> values = {0};
  for (int bit = 0; bit < 64; ++bit) {
    const std::uint64_t power = std::uint64_t{1} << bit;
    values.insert(values.end(), {power - 1, power, power + 1});
  }
  values.push_back(UINT64_MAX);
  return values;
}

}  // namespace

TEST_CASE("varints are those of protobuf, at every length") {
  for (const std::uint64_t value : edges()) {
    std::array<std::byte, wire::kMaxVarint> room{};
    wire::Encoder encoder{room};
    encoder.varint(value);
    REQUIRE_FALSE(encoder.overflowed());
    CHECK(encoder.size() == wire::varint_size(value));
    const char* next = view(encoder).data();
    CHECK(protozero::decode_varint(&next, next + encoder.size()) == value);
    CHECK(next == view(encoder).data() + encoder.size());
  }
}

TEST_CASE("zigzag keeps every signed number") {
  CHECK(wire::zigzag(0) == 0);
  CHECK(wire::zigzag(-1) == 1);
  CHECK(wire::zigzag(1) == 2);
  CHECK(wire::zigzag(INT64_MAX) == UINT64_MAX - 1);
  CHECK(wire::zigzag(INT64_MIN) == UINT64_MAX);
  std::mt19937_64 random(1);
  for (int i = 0; i < 1000; ++i) {
    const auto value = static_cast<std::int64_t>(random() >> (random() % 64));
    CHECK(protozero::decode_zigzag64(wire::zigzag(value)) == value);
    CHECK(protozero::decode_zigzag64(wire::zigzag(-value)) == -value);
  }
}

TEST_CASE("fields are read back by another implementation") {
  std::array<std::byte, 200> room{};
  wire::Encoder encoder{room};
  encoder.number(1, std::uint64_t{150});
  encoder.number(1008, std::int64_t{-2});
  encoder.number(3, true);
  encoder.number(4, std::uint64_t{0});  // a default: takes no room
  encoder.bytes(5, "text", 4);
  encoder.bytes(6, nullptr, 0);
  const std::array<std::uint64_t, 4> values = {0, 1, 300, UINT64_MAX};
  encoder.packed(7, values);
  encoder.packed(8, {});  // takes no room either
  REQUIRE_FALSE(encoder.overflowed());

  protozero::pbf_reader reader(view(encoder));
  REQUIRE(reader.next(1));
  CHECK(reader.get_uint64() == 150);
  REQUIRE(reader.next(1008));
  CHECK(reader.get_int64() == -2);
  REQUIRE(reader.next(3));
  CHECK(reader.get_bool());
  REQUIRE(reader.next(5));
  CHECK(reader.get_string() == "text");
  REQUIRE(reader.next(6));
  CHECK(reader.get_string().empty());
  REQUIRE(reader.next(7));
  const auto packed = reader.get_packed_uint64();
  CHECK(std::vector<std::uint64_t>(packed.begin(), packed.end()) ==
        std::vector<std::uint64_t>(values.begin(), values.end()));
  CHECK_FALSE(reader.next());
}

TEST_CASE("the size of a field is known before it is written") {
  for (const std::uint32_t field : {1U, 15U, 16U, 1008U}) {
    for (const std::size_t size : {0U, 1U, 127U, 128U, 20000U}) {
      std::vector<std::byte> room(size + 20);
      const std::vector<std::byte> body(size);
      wire::Encoder encoder{room};
      encoder.bytes(field, body.data(), size);
      CHECK(encoder.size() == wire::bytes_field_size(field, size));
    }
  }
}

TEST_CASE("what does not fit is left out whole, and said") {
  const std::array<std::uint64_t, 3> values = {1, 300, 70000};
  const std::vector<std::function<void(wire::Encoder&)>> writes = {
      [](auto& e) { e.varint(UINT64_MAX); },    [](auto& e) { e.number(1008, std::uint64_t{300}); },
      [](auto& e) { e.bytes_head(1008, 300); }, [](auto& e) { e.bytes(2, "some text", 9); },
      [&](auto& e) { e.packed(2, values); },
  };
  for (const auto& write : writes) {
    std::array<std::byte, 64> room{};
    wire::Encoder whole{room};
    write(whole);
    const std::size_t needed = whole.size();
    for (std::size_t size = 0; size <= needed; ++size) {
      std::array<std::byte, 65> guarded;
      guarded.fill(std::byte{0xA5});
      wire::Encoder encoder{std::span(guarded).first(size)};
      write(encoder);
      CHECK(encoder.overflowed() == (size < needed));
      CHECK(encoder.size() == (size < needed ? 0 : needed));
      CHECK(guarded[size] == std::byte{0xA5});
      const std::size_t before = encoder.size();
      if (encoder.overflowed()) {
        encoder.varint(1);  // would fit, but follows something lost
        CHECK(encoder.size() == before);
        encoder.clear();
        CHECK_FALSE(encoder.overflowed());
      }
    }
  }
}
