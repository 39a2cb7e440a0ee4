// A cursor over call frame information that cannot leave its range: reading past it yields zeros and !ok().
//
// Called by: cfi.cpp alone. Plain value; no memory of its own.
#pragma once

#include <cstddef>
#include <cstdint>

namespace memtrace {

// Pointer encodings: LSB 5, 10.5.1.
inline constexpr std::uint8_t kPointerPcRelative = 0x10;
inline constexpr std::uint8_t kPointerDataRelative = 0x30;
inline constexpr std::uint8_t kPointerUnsigned4 = 0x03;
inline constexpr std::uint8_t kPointerSigned4 = 0x0b;

class CfiReader {
 public:
  CfiReader(std::uintptr_t begin, std::uintptr_t end, std::uintptr_t at)
      : begin_(begin), at_(at), end_(at >= begin && at <= end ? end : at) {
    ok_ = at >= begin && at <= end;
  }

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool more() const { return ok_ && at_ < end_; }
  [[nodiscard]] std::uintptr_t at() const { return at_; }

  template <class T>
  T get() {
    T value{};
    if (end_ - at_ < sizeof(T)) {
      fail();
    } else {
      __builtin_memcpy(&value, reinterpret_cast<const void*>(at_), sizeof(T));
      at_ += sizeof(T);
    }
    return value;
  }
  std::uint8_t byte() { return get<std::uint8_t>(); }

  std::uint64_t uleb() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const std::uint8_t part = byte();
      value |= std::uint64_t{part & 0x7fu} << shift;
      if (!(part & 0x80)) return value;
    }
    fail();
    return 0;
  }
  std::int64_t sleb() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64;) {
      const std::uint8_t part = byte();
      value |= std::uint64_t{part & 0x7fu} << shift;
      shift += 7;
      if (part & 0x80) continue;
      if ((part & 0x40) && shift < 64) value |= ~std::uint64_t{0} << shift;
      return static_cast<std::int64_t>(value);
    }
    fail();
    return 0;
  }

  // Encoded pointers of eight and four bytes, absolute or relative to their own place.
  std::uint64_t pointer(std::uint8_t encoding) {
    const std::uint64_t base = (encoding & 0x70) == kPointerPcRelative ? at_ : 0;
    const std::uint64_t value = pointer_value(encoding);
    if ((encoding & 0x70) != 0 && (encoding & 0x70) != kPointerPcRelative) fail();
    return base + value;
  }
  // The same without what it is relative to.
  std::uint64_t pointer_value(std::uint8_t encoding) {
    switch (encoding & 0x0f) {
      case 0x00:
      case 0x04:
      case 0x0c:
        return get<std::uint64_t>();
      case 0x02:
        return get<std::uint16_t>();
      case kPointerUnsigned4:
        return get<std::uint32_t>();
      case 0x0a:
        return static_cast<std::uint64_t>(get<std::int16_t>());
      case kPointerSigned4:
        return static_cast<std::uint64_t>(std::int64_t{get<std::int32_t>()});
      default:
        fail();
        return 0;
    }
  }

  void skip(std::uint64_t bytes) {
    if (end_ - at_ < bytes) {
      fail();
    } else {
      at_ += bytes;
    }
  }
  // The next `bytes` as a cursor of their own; they are skipped here.
  CfiReader part(std::uint64_t bytes) {
    const std::uintptr_t from = at_;
    skip(bytes);
    CfiReader inner(begin_, ok_ ? at_ : from, from);
    if (!ok_) inner.fail();
    return inner;
  }

 private:
  void fail() {
    ok_ = false;
    at_ = end_;
  }

  std::uintptr_t begin_;
  std::uintptr_t at_;
  std::uintptr_t end_;
  bool ok_;
};

}  // namespace memtrace
