// Columns of live records -> rows.
#include <algorithm>
#include <array>

#include "format/fields.hpp"
#include "format/huge_pages.hpp"
#include "format/message_decoder.hpp"
#include "format/number_column.hpp"

namespace memtrace {
namespace {

// Indexed by field number; 0 stays empty.
using Columns = std::array<NumberColumn, fields::record_batch::kKind + 1>;

void read_columns(data_view part, Columns& columns) {
  for (NumberColumn& column : columns) column.clear();
  for (protozero::pbf_reader field(part); field.next();) {
    const std::uint32_t tag = field.tag();
    const bool numbers =
        field.tag_and_type() == number_field(tag) || field.tag_and_type() == bytes_field(tag);
    if (tag < columns.size() && numbers) {
      columns[tag].append(field);
    } else {
      field.skip();
    }
  }
}

void check_columns(const MessageParts& parts, data_view part, const Columns& columns) {
  namespace f = fields::record_batch;
  const std::size_t rows = columns[f::kSampleNumber].size();
  for (std::uint32_t field = f::kSampleNumber; field <= f::kKind; ++field) {
    const bool all_heap = field == f::kKind && columns[field].empty();
    if (columns[field].size() != rows && !all_heap) {
      parts.fail(part, "is damaged: columns of records differ in length");
    }
  }
}

}  // namespace

std::uint64_t decode_records(MessageParts& parts, Snapshot& to) {
  namespace f = fields::record_batch;
  // A record takes a byte or more in each of six columns; what is reserved and not used costs no memory.
  constexpr std::size_t kLeastBytes = 6;
  std::size_t bytes = 0;
  for (const data_view part : parts.records) bytes += part.size();
  to.records.reserve(std::min<std::uint64_t>(bytes / kLeastBytes, parts.memory_left() / sizeof(Record)));
  prefer_huge_pages(to.records);
  Columns columns;
  std::uint64_t count = 0;
  for (const data_view part : parts.records) {
    parts.require_room_for_numbers(part);
    read_columns(part, columns);
    check_columns(parts, part, columns);
    std::uint64_t address = 0;
    std::uint64_t birth = 0;
    const std::size_t rows = columns[f::kSampleNumber].size();
    const bool all_heap = columns[f::kKind].empty();
    parts.spend(part, rows * sizeof(Record));
    for (std::size_t row = 0; row < rows; ++row) {
      // Differences are modulo 2^64.
      address += static_cast<std::uint64_t>(protozero::decode_zigzag64(columns[f::kAddress][row]));
      birth += static_cast<std::uint64_t>(protozero::decode_zigzag64(columns[f::kBirthNanos][row]));
      const std::uint64_t stack = columns[f::kStack][row];
      if (stack >= to.stacks.size()) {
        parts.fail(part, "is damaged: a record refers to stack " + std::to_string(stack) + " of " +
                             std::to_string(to.stacks.size()));
      }
      const std::uint64_t kind = all_heap ? 0 : columns[f::kKind][row];
      if (kind > static_cast<std::uint64_t>(AllocKind::kShared)) continue;
      to.records.push_back({.sample_number = columns[f::kSampleNumber][row],
                            .address = address,
                            .size_bytes = columns[f::kSize][row],
                            .birth_ns = static_cast<std::int64_t>(birth),
                            .stack = static_cast<std::uint32_t>(stack),
                            .thread = parts.uint32(part, columns[f::kThread][row], "thread serial"),
                            .kind = static_cast<AllocKind>(kind)});
    }
    count += rows;
  }
  if (const std::uint64_t unknown = count - to.records.size(); unknown != 0) {
    to.warnings.push_back("holds " + std::to_string(unknown) +
                          " allocations of kinds that this version does not know: they are left out");
  }
  return count;
}

}  // namespace memtrace
