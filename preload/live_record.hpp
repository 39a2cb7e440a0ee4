// A record of the live table: as the rest of the shim sees it, and packed into the 24 bytes it is kept in.
//
// Called by: insert and erase of the live table (hot in mode all), the snapshot thread. Pure.
//
//   place  address / 8: 44 bits           thread: 20
//   what   size: 20  aside: 1  stack: 26  sample number, high: 17
//   when   birth / 2^20 ns: 36            sample number, low: 28
//
// What does not fit (blocks of a MiB and more, odd addresses, a thread's sample 2^45, birth more than two
// years after the base) is kept aside as it is, and `size` says where.
#pragma once

#include <cstdint>

#include "format/types.hpp"

namespace memtrace {

struct LiveRecord {
  std::uint64_t address = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t sample_number = 0;
  std::int64_t birth_ns = 0;  // kept in steps of 2^20 ns, a quarter of the coarse clock's tick
  StackId stack{};
  std::uint32_t thread = 0;
};
static_assert(sizeof(LiveRecord) == 40);

struct PackedRecord {
  std::uint64_t place;
  std::uint64_t what;
  std::uint64_t when;

  static constexpr int kPlaceBits = 44;
  static constexpr int kSizeBits = 20;
  static constexpr int kStackBits = 26;
  static constexpr int kBirthBits = 36;
  static constexpr int kBirthUnitBits = 20;
  static constexpr int kSampleLowBits = 64 - kBirthBits;
  static constexpr int kSampleBits = kSampleLowBits + (64 - kSizeBits - 1 - kStackBits);
  static constexpr std::uint64_t kAside = std::uint64_t{1} << kSizeBits;

  [[nodiscard]] static constexpr std::uint64_t low(std::uint64_t value, int bits) {
    return value & ((std::uint64_t{1} << bits) - 1);
  }
  // The part of `place` that finds a record; that of an odd address may be another's, too.
  [[nodiscard]] static constexpr std::uint64_t key(std::uint64_t address) {
    return low(address >> 3, kPlaceBits);
  }
  [[nodiscard]] std::uint64_t key() const { return low(place, kPlaceBits); }
  [[nodiscard]] bool aside() const { return what & kAside; }
  [[nodiscard]] std::uint32_t where() const { return static_cast<std::uint32_t>(low(what, kSizeBits)); }

  [[nodiscard]] static bool fits_thread(std::uint32_t serial) { return serial >> (64 - kPlaceBits) == 0; }
  // birth_base: in ns; births are kept as steps from there, cut downwards.
  [[nodiscard]] static bool fits(const LiveRecord& record, std::int64_t birth_base) {
    const auto age = static_cast<std::uint64_t>((record.birth_ns - birth_base) >> kBirthUnitBits);
    return ((record.address & ~(((std::uint64_t{1} << kPlaceBits) - 1) << 3)) |
            (record.size_bytes >> kSizeBits) | (static_cast<std::uint32_t>(record.stack) >> kStackBits) |
            (record.sample_number >> kSampleBits) | (age >> kBirthBits) |
            (record.thread >> (64 - kPlaceBits))) == 0;
  }
  [[nodiscard]] static PackedRecord of(const LiveRecord& record, std::int64_t birth_base) {
    const auto age = static_cast<std::uint64_t>((record.birth_ns - birth_base) >> kBirthUnitBits);
    return {record.address >> 3 | std::uint64_t{record.thread} << kPlaceBits,
            record.size_bytes | std::uint64_t{static_cast<std::uint32_t>(record.stack)} << (kSizeBits + 1) |
                record.sample_number >> kSampleLowBits << (kSizeBits + 1 + kStackBits),
            age | record.sample_number << kBirthBits};
  }
  [[nodiscard]] static PackedRecord of_aside(std::uint64_t address, std::uint32_t where) {
    return {key(address), where | kAside, 0};
  }
  // Precondition: not aside.
  [[nodiscard]] LiveRecord unpacked(std::int64_t birth_base) const {
    const auto age = static_cast<std::int64_t>(low(when, kBirthBits));
    return {key() << 3,
            low(what, kSizeBits),
            what >> (kSizeBits + 1 + kStackBits) << kSampleLowBits | when >> kBirthBits,
            birth_base + (age << kBirthUnitBits),
            StackId{static_cast<std::uint32_t>(low(what >> (kSizeBits + 1), kStackBits))},
            static_cast<std::uint32_t>(place >> kPlaceBits)};
  }
};
static_assert(sizeof(PackedRecord) == 24);
static_assert(PackedRecord::kSampleBits == 45);

}  // namespace memtrace
