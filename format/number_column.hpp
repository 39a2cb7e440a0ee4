// A repeated number of a message -> numbers, as fast as a column of a million rows deserves.
//
// Called by: the reader of records, once per column of a batch. Input is hostile: never reads past the field.
// Memory: eight bytes for each byte of the largest field yet; kept until the end, and not zeroed before.
// Failure: throws protozero::exception or std::bad_alloc.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <protozero/pbf_reader.hpp>

namespace memtrace {

class NumberColumn {
 public:
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::uint64_t operator[](std::size_t row) const { return numbers_[row]; }
  void clear() { size_ = 0; }

  // What one occurrence of the field holds, packed or not, as parsers must accept both.
  void append(protozero::pbf_reader& field) {
    if (field.wire_type() == protozero::pbf_wire_type::varint) {
      make_room(1);
      numbers_[size_++] = field.get_uint64();
      return;
    }
    const protozero::data_view packed = field.get_view();
    make_room(packed.size());
    const char* next = packed.data();
    const char* const end = next + packed.size();
    std::uint64_t* to = numbers_.get() + size_;
    while (next != end) *to++ = take(next, end);
    size_ = static_cast<std::size_t>(to - numbers_.get());
  }

 private:
  // Most numbers of a snapshot take one byte or two.
  static std::uint64_t take(const char*& next, const char* end) {
    const auto first = static_cast<unsigned char>(*next);
    if (first < 0x80) {
      ++next;
      return first;
    }
    if (end - next >= 2) {
      const auto second = static_cast<unsigned char>(next[1]);
      if (second < 0x80) {
        next += 2;
        return (first & 0x7fU) | second << 7U;
      }
    }
    return protozero::decode_varint(&next, end);
  }

  void make_room(std::size_t more) {
    if (more <= room_ - size_) return;
    room_ = std::max(size_ + more, 2 * room_);
    auto larger = std::make_unique_for_overwrite<std::uint64_t[]>(room_);
    std::copy_n(numbers_.get(), size_, larger.get());
    numbers_ = std::move(larger);
  }

  std::unique_ptr<std::uint64_t[]> numbers_;
  std::size_t size_ = 0;
  std::size_t room_ = 0;
};

}  // namespace memtrace
