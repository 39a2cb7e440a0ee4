// Vocabulary types shared by the shim and the analyzer.
//
// Header-only, no heap, no libstdc++ at link time: included on the malloc path.
// Thread-safety: plain values.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>

namespace memtrace {

// First byte of an allocation, as the program received it.
enum class Address : std::uint64_t {};

// What unwinding yields: the instruction after the call.
enum class ReturnAddress : std::uint64_t {};

// An address inside the call instruction, fit for symbol lookup.
enum class LookupAddress : std::uint64_t {};

[[nodiscard]] constexpr std::uint64_t value(Address a) { return static_cast<std::uint64_t>(a); }
[[nodiscard]] constexpr std::uint64_t value(ReturnAddress a) { return static_cast<std::uint64_t>(a); }
[[nodiscard]] constexpr std::uint64_t value(LookupAddress a) { return static_cast<std::uint64_t>(a); }
[[nodiscard]] constexpr LookupAddress lookup_address(ReturnAddress a) {
  return static_cast<LookupAddress>(value(a) - 1);
}

// An interned stack inside one process; 0 is "no stack".
enum class StackId : std::uint32_t { kNone = 0 };

// What `memtrace snap` queues with the trigger signal: a snapshot is meant, and nothing else, whatever
// handler of its own the program has.
inline constexpr std::uint64_t kSnapshotIsMeant = 0x6563'6172'746d'656d;  // "memtrace"

// What an allocation is. Values are stored in snapshots: never renumber.
enum class AllocKind : std::uint8_t {
  kHeap = 0,      // malloc and its family
  kMmap = 1,      // private anonymous mapping, accessible: counted as live bytes
  kReserved = 2,  // private anonymous mapping made with PROT_NONE: outside totals and ranking
  kFile = 3,      // file mapping: outside totals and ranking
  kShared = 4,    // shared anonymous mapping: outside totals and ranking
};

[[nodiscard]] constexpr bool counts_as_live(AllocKind k) {
  return k == AllocKind::kHeap || k == AllocKind::kMmap;
}

// GNU build-id note: up to 32 bytes are kept (sha1 has 20). Size 0: the module has none.
struct BuildId {
  std::array<std::uint8_t, 32> bytes{};
  std::uint8_t size = 0;

  friend constexpr bool operator==(const BuildId&, const BuildId&) = default;
  friend constexpr auto operator<=>(const BuildId&, const BuildId&) = default;
};

// 128 random bits: one life of one process image under the shim (fork starts another).
struct SessionId {
  std::array<std::uint8_t, 16> bytes{};

  friend constexpr bool operator==(const SessionId&, const SessionId&) = default;
};

// What made the shim take a snapshot. Values are stored in snapshots: never renumber.
enum class TriggerReason : std::uint8_t { kUnknown = 0, kSignal = 1, kExit = 2, kApi = 3 };

enum class SamplingMode : std::uint8_t { kPoissonBytes = 0, kAll = 1 };

}  // namespace memtrace
