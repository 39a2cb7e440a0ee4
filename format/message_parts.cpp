#include "format/message_parts.hpp"

#include "format/decode_error.hpp"
#include "format/fields.hpp"

namespace memtrace {
namespace {

constexpr std::uint64_t kStringBudget = std::uint64_t{64} << 20;
constexpr const char* kTooMuch = "is damaged: it would take more memory than any snapshot of its size";

}  // namespace

void append_numbers(protozero::pbf_reader& field, std::vector<std::uint64_t>& to) {
  if (field.wire_type() == protozero::pbf_wire_type::varint) {
    to.push_back(field.get_uint64());
    return;
  }
  const data_view packed = field.get_view();
  const char* next = packed.data();
  const char* const end = next + packed.size();
  while (next != end) to.push_back(protozero::decode_varint(&next, end));
}

MessageParts::MessageParts(std::span<const std::byte> message, std::uint64_t memory_budget)
    : message_(reinterpret_cast<const char*>(message.data()), message.size()),
      string_budget_(kStringBudget + message.size()),
      memory_budget_(memory_budget) {
  protozero::pbf_reader field(message_);
  const auto keep = [&](std::vector<data_view>& in) {
    in.push_back(field.get_view());
    spend(in.back(), sizeof in.back());
  };
  while (field.next()) {
    switch (field.tag_and_type()) {
      case bytes_field(fields::kSampleType):
        keep(sample_types);
        break;
      case bytes_field(fields::kSample):
        keep(samples);
        break;
      case bytes_field(fields::kMapping):
        keep(mappings);
        break;
      case bytes_field(fields::kLocation):
        keep(locations);
        break;
      case bytes_field(fields::kStringTable):
        keep(strings_);
        break;
      case bytes_field(fields::kProcess):
        keep(process);
        break;
      case bytes_field(fields::kTrigger):
        keep(trigger);
        break;
      case bytes_field(fields::kClocks):
        keep(clocks);
        break;
      case bytes_field(fields::kSampling):
        keep(sampling);
        break;
      case bytes_field(fields::kRecords):
        keep(records);
        break;
      case bytes_field(fields::kThread):
        keep(threads);
        break;
      case bytes_field(fields::kStacks):
        keep(stacks);
        break;
      case bytes_field(fields::kSelf):
        keep(self);
        break;
      case number_field(fields::kFormatVersion):
        format_version = field.get_uint64();
        break;
      default:
        field.skip();
    }
  }
}

void MessageParts::fail(data_view part, const std::string& why) const {
  fail_in_message(part.empty() ? 0 : static_cast<std::uint64_t>(part.data() - message_.data()), why);
}

void MessageParts::spend(data_view part, std::uint64_t bytes) {
  if (bytes > memory_budget_) fail(part, kTooMuch);
  memory_budget_ -= bytes;
}

void MessageParts::require_room_for_numbers(data_view part) const {
  if (part.size() > memory_budget_ / sizeof(std::uint64_t)) fail(part, kTooMuch);
}

std::string_view MessageParts::peek_string(data_view part, std::uint64_t index) const {
  if (index == 0) return {};
  if (index >= strings_.size()) {
    fail(part, "is damaged: it refers to string " + std::to_string(index) + " of " +
                   std::to_string(strings_.size()));
  }
  const data_view text = strings_[static_cast<std::size_t>(index)];
  return {text.data(), text.size()};
}

std::string MessageParts::string(data_view part, std::uint64_t index) {
  const std::string_view text = peek_string(part, index);
  if (text.size() > string_budget_) fail(part, "is damaged: it repeats its strings beyond measure");
  string_budget_ -= text.size();
  return std::string(text);
}

std::uint32_t MessageParts::uint32(data_view part, std::uint64_t value, std::string_view what) const {
  if (value > UINT32_MAX) {
    fail(part, "is damaged: " + std::string(what) + " " + std::to_string(value) + " is out of range");
  }
  return static_cast<std::uint32_t>(value);
}

}  // namespace memtrace
