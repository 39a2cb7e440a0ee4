// Live records while they wait to be written as one RecordBatch, ordered by address.
//
// Called by: the snapshot writer, once per record (snapshot cost). Lives in the writer's workspace (P1).
// When full: add() says so, and push() must follow before the next add().
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "format/fields.hpp"
#include "format/message_stream.hpp"
#include "format/snapshot_writer.hpp"
#include "format/wire.hpp"

namespace memtrace {

class RecordBatch {
 public:
  enum class Room { kLeft, kNone };

  Room add(const RecordInfo& record) {
    if (rows_ != 0 && record.address < records_[rows_ - 1].address) sorted_ = false;
    if (record.kind != AllocKind::kHeap) all_heap_ = false;
    records_[rows_++] = record;
    return rows_ == kRows ? Room::kNone : Room::kLeft;
  }

  void push(MessageStream& to) {
    if (rows_ == 0) return;
    order_rows();
    std::size_t size = 0;
    for_each_column([&](std::uint32_t field, auto value) {
      std::size_t column = 0;
      for_each_value(value, [&](std::uint64_t v) { column += wire::varint_size(v); });
      size += wire::bytes_field_size(field, column);
    });
    to.push_head(fields::kRecords, size);
    for_each_column([&](std::uint32_t field, auto value) {
      wire::Encoder column{column_};
      for_each_value(value, [&](std::uint64_t v) { column.varint(v); });
      to.push_column(field, column);
    });
    rows_ = 0;
    sorted_ = true;
    all_heap_ = true;
  }

 private:
  // Long enough that a column is worth entropy tables of its own.
  static constexpr std::uint32_t kRows = 8192;

  struct Key {
    std::uint32_t address;
    std::uint32_t row;
  };

  // A hash table hands records over in random order. Sorted, their addresses and birth times differ little
  // from row to row, and the file loses a quarter of its size. The upper 32 bits of where an address lies in
  // the batch's range are order enough, and make a radix sort ten times faster than std::sort.
  void order_rows() {
    std::uint64_t lowest = UINT64_MAX;
    std::uint64_t highest = 0;
    for (std::uint32_t i = 0; i < rows_; ++i) {
      lowest = std::min(lowest, records_[i].address);
      highest = std::max(highest, records_[i].address);
    }
    const int shift = std::max(static_cast<int>(std::bit_width(highest - lowest)) - 32, 0);
    for (std::uint32_t i = 0; i < rows_; ++i) {
      order_[i] = {static_cast<std::uint32_t>((records_[i].address - lowest) >> shift), i};
    }
    if (sorted_) return;
    for (int bit = 0; bit < 32; bit += 16) {
      order_by_byte(order_, other_, bit);
      order_by_byte(other_, order_, bit + 8);
    }
  }

  using Keys = std::array<Key, kRows>;
  void order_by_byte(const Keys& from, Keys& to, int bit) const {
    std::array<std::uint32_t, 257> next{};
    for (std::uint32_t i = 0; i < rows_; ++i) ++next[((from[i].address >> bit) & 0xFF) + 1];
    for (std::size_t i = 1; i < next.size(); ++i) next[i] += next[i - 1];
    for (std::uint32_t i = 0; i < rows_; ++i) to[next[(from[i].address >> bit) & 0xFF]++] = from[i];
  }

  // use(field, value): value(row, row before or null) is what the column holds.
  template <class Use>
  void for_each_column(Use use) const {
    namespace f = fields::record_batch;
    using Row = const RecordInfo;
    use(f::kSampleNumber, [](Row& row, Row*) { return row.sample_number; });
    use(f::kStack, [](Row& row, Row*) { return std::uint64_t{row.stack}; });
    use(f::kAddress, [](Row& row, Row* before) {
      return difference(row.address, before != nullptr ? before->address : 0);
    });
    use(f::kSize, [](Row& row, Row*) { return row.size_bytes; });
    use(f::kBirthNanos, [](Row& row, Row* before) {
      return difference(static_cast<std::uint64_t>(row.birth_ns),
                        static_cast<std::uint64_t>(before != nullptr ? before->birth_ns : 0));
    });
    use(f::kThread, [](Row& row, Row*) { return std::uint64_t{row.thread}; });
    if (!all_heap_) use(f::kKind, [](Row& row, Row*) { return static_cast<std::uint64_t>(row.kind); });
  }

  template <class Value, class Use>
  void for_each_value(Value value, Use use) const {
    const RecordInfo* before = nullptr;
    for (std::uint32_t i = 0; i < rows_; ++i) {
      const RecordInfo& row = records_[order_[i].row];
      use(value(row, before));
      before = &row;
    }
  }

  // Modulo 2^64, so that any two values have one.
  static std::uint64_t difference(std::uint64_t a, std::uint64_t b) {
    return wire::zigzag(static_cast<std::int64_t>(a - b));
  }

  std::uint32_t rows_ = 0;
  bool sorted_ = true;
  bool all_heap_ = true;
  // Contents beyond rows_ do not matter.
  std::array<RecordInfo, kRows> records_;
  Keys order_;
  Keys other_;
  std::array<std::byte, kRows * wire::kMaxVarint> column_;
};

}  // namespace memtrace
