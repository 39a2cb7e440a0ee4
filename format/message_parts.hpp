// The top-level fields of a message, sorted by kind: the string table may come last, and parts refer to each
// other.
//
// Called by: the decoders. Input is hostile. Views point into the message, which must outlive this.
// Memory: has budgets, for the strings handed out, as a short message may refer to one long string a million
// times, and for all else, as a message may consist of nothing but parts of two bytes. Failure: throws
// DecodeError, protozero::exception or std::bad_alloc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <protozero/pbf_reader.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace memtrace {

using protozero::data_view;

// What to switch over in a loop of pbf_reader::next(); a field of another wire type is an unknown field.
[[nodiscard]] constexpr std::uint32_t number_field(std::uint32_t field) {
  return protozero::tag_and_type(field, protozero::pbf_wire_type::varint);
}
[[nodiscard]] constexpr std::uint32_t bytes_field(std::uint32_t field) {
  return protozero::tag_and_type(field, protozero::pbf_wire_type::length_delimited);
}

// Adds what one occurrence of a repeated number holds, packed or not, as parsers must accept both.
void append_numbers(protozero::pbf_reader& field, std::vector<std::uint64_t>& to);

class MessageParts {
 public:
  MessageParts(std::span<const std::byte> message, std::uint64_t memory_budget);

  // Singular messages too may come in pieces: later ones add to earlier ones.
  std::vector<data_view> sample_types, samples, mappings, locations;
  std::vector<data_view> process, trigger, clocks, sampling, records, threads, stacks, self;
  std::uint64_t format_version = 0;

  // `part` is what the sentence is about.
  [[noreturn]] void fail(data_view part, const std::string& why) const;

  // Before `bytes` more of memory are taken for what `part` holds: fails when they exceed the budget.
  void spend(data_view part, std::uint64_t bytes);
  // The same for numbers that are kept only while `part` is decoded.
  void require_room_for_numbers(data_view part) const;
  [[nodiscard]] std::uint64_t memory_left() const { return memory_budget_; }

  [[nodiscard]] std::string_view peek_string(data_view part, std::uint64_t index) const;
  [[nodiscard]] std::string string(data_view part, std::uint64_t index);
  [[nodiscard]] std::uint32_t uint32(data_view part, std::uint64_t value, std::string_view what) const;

 private:
  data_view message_;
  std::vector<data_view> strings_;
  std::uint64_t string_budget_;
  std::uint64_t memory_budget_;
};

}  // namespace memtrace
