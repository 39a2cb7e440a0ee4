// Protobuf wire encoding into a caller's bytes: varints, zigzag, tags, length-delimited fields.
//
// Called by: the snapshot writer, several times per record (snapshot cost). Header-only.
// Thread-safety: plain values. Memory: the span handed in, nothing else (P1); needs nothing of libstdc++ at
// link time. When full: the value that does not fit is left out whole, overflowed() stays true, later calls
// do nothing.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace memtrace::wire {

enum class Type : std::uint32_t { kVarint = 0, kBytes = 2 };

inline constexpr std::size_t kMaxVarint = 10;

[[nodiscard]] constexpr std::uint64_t zigzag(std::int64_t v) {
  return (static_cast<std::uint64_t>(v) << 1) ^ (v < 0 ? ~std::uint64_t{0} : 0);
}

[[nodiscard]] constexpr std::uint64_t tag(std::uint32_t field, Type type) {
  return (std::uint64_t{field} << 3) | static_cast<std::uint32_t>(type);
}

[[nodiscard]] constexpr std::size_t varint_size(std::uint64_t v) {
  return (static_cast<std::size_t>(std::bit_width(v | 1)) + 6) / 7;
}

// Bytes of a length-delimited field around a body of `size` bytes.
[[nodiscard]] constexpr std::size_t bytes_field_size(std::uint32_t field, std::size_t size) {
  return varint_size(tag(field, Type::kBytes)) + varint_size(size) + size;
}

class Encoder {
 public:
  constexpr Encoder() = default;
  constexpr explicit Encoder(std::span<std::byte> room)
      : begin_(room.data()), next_(room.data()), end_(room.data() + room.size()) {}

  constexpr void clear() {
    next_ = begin_;
    overflowed_ = false;
  }
  [[nodiscard]] constexpr bool overflowed() const { return overflowed_; }
  [[nodiscard]] constexpr const std::byte* data() const { return begin_; }
  [[nodiscard]] constexpr std::size_t size() const { return static_cast<std::size_t>(next_ - begin_); }

  constexpr void varint(std::uint64_t v) {
    if (!fits(v)) return;
    while (v >= 0x80) {
      *next_++ = static_cast<std::byte>(v | 0x80);
      v >>= 7;
    }
    *next_++ = static_cast<std::byte>(v);
  }

  // A singular number; 0 is the default of every proto3 field and takes no room.
  constexpr void number(std::uint32_t field, std::uint64_t v) {
    if (v == 0) return;
    if (!reserve(varint_size(tag(field, Type::kVarint)) + varint_size(v))) return;
    varint(tag(field, Type::kVarint));
    varint(v);
  }
  constexpr void number(std::uint32_t field, std::int64_t v) { number(field, static_cast<std::uint64_t>(v)); }
  constexpr void number(std::uint32_t field, bool v) { number(field, std::uint64_t{v}); }

  // The head of a length-delimited field; its `size` bytes follow by other means.
  constexpr void bytes_head(std::uint32_t field, std::size_t size) {
    if (!reserve(bytes_field_size(field, size) - size)) return;
    varint(tag(field, Type::kBytes));
    varint(size);
  }

  void bytes(std::uint32_t field, const void* data, std::size_t size) {
    if (!reserve(bytes_field_size(field, size))) return;
    bytes_head(field, size);
    if (size != 0) std::memcpy(next_, data, size);
    next_ += size;
  }

  // A packed repeated field. Empty: nothing.
  constexpr void packed(std::uint32_t field, std::span<const std::uint64_t> values) {
    if (values.empty()) return;
    std::size_t size = 0;
    for (const std::uint64_t v : values) size += varint_size(v);
    if (!reserve(bytes_field_size(field, size))) return;
    bytes_head(field, size);
    for (const std::uint64_t v : values) varint(v);
  }

 private:
  [[nodiscard]] constexpr bool fits(std::uint64_t v) {
    if (!overflowed_ && static_cast<std::size_t>(end_ - next_) >= kMaxVarint) return true;
    return reserve(varint_size(v));
  }
  [[nodiscard]] constexpr bool reserve(std::size_t size) {
    if (static_cast<std::size_t>(end_ - next_) < size) overflowed_ = true;
    return !overflowed_;
  }

  std::byte* begin_ = nullptr;
  std::byte* next_ = nullptr;
  std::byte* end_ = nullptr;
  bool overflowed_ = false;
};

}  // namespace memtrace::wire
