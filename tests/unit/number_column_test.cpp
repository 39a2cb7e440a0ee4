// Would break: a column of a snapshot read as other numbers than were written, or read beyond its end.
#include "format/number_column.hpp"

#include <protozero/pbf_writer.hpp>
#include <random>
#include <string>
#include <vector>

#include "tests/support/catch.hpp"

using namespace memtrace;

namespace {

// Of exactly this size, so that a sanitizer sees the first byte beyond.
void append(NumberColumn& column, const std::string& message) {
  const std::vector<char> exact(message.begin(), message.end());
  protozero::pbf_reader field(exact.data(), exact.size());
  while (field.next()) column.append(field);
}

std::vector<std::uint64_t> numbers_of(const NumberColumn& column) {
  std::vector<std::uint64_t> numbers;
  for (std::size_t i = 0; i < column.size(); ++i) numbers.push_back(column[i]);
  return numbers;
}

}  // namespace

TEST_CASE("numbers of every length come back, packed, alone and mixed") {
  std::mt19937_64 random(GENERATE(1U, 2U, 3U));
  std::vector<std::uint64_t> expected;
  NumberColumn column;
  for (int round = 0; round < 20; ++round) {
    std::vector<std::uint64_t> numbers;
    for (int i = 0; i < 300; ++i) numbers.push_back(random() >> random() % 64);
    std::string message;
    protozero::pbf_writer writer(message);
    writer.add_packed_uint64(1, numbers.begin(), numbers.end());
    writer.add_uint64(1, random());
    append(column, message);
    protozero::pbf_reader field(message);
    while (field.next()) {
      if (field.wire_type() == protozero::pbf_wire_type::varint) {
        expected.push_back(field.get_uint64());
      } else {
        for (const auto number : field.get_packed_uint64()) expected.push_back(number);
      }
    }
  }
  CHECK(numbers_of(column) == expected);
  column.clear();
  CHECK(column.empty());
}

TEST_CASE("a column that ends within a number, or a number that does not end, is refused") {
  const std::size_t length = GENERATE(1U, 2U, 3U, 9U);
  NumberColumn cut;
  CHECK_THROWS_AS(append(cut, std::string("\x0a") + static_cast<char>(length) + std::string(length, '\x80')),
                  protozero::end_of_buffer_exception);
  NumberColumn endless;
  CHECK_THROWS_AS(append(endless, "\x0a\x0c" + std::string(11, '\x80') + '\x01'),
                  protozero::varint_too_long_exception);
}
