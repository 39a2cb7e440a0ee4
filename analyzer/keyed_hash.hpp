// Hashes for tables whose keys a hostile file chooses: keyed by a secret of this process, so that nobody can
// prepare a million keys that fall into one bucket, of which each insertion would search them all.
//
// Called by: every unordered container over numbers or texts of snapshots and symbols. Thread-safety: pure,
// but for the secret, which is read once.
#pragma once

#include <sys/auxv.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace memtrace {

struct HashKey {
  std::uint64_t first = 0;
  std::uint64_t second = 0;

  // The kernel gives sixteen random bytes to every process.
  [[nodiscard]] static const HashKey& of_this_process() {
    static const HashKey key = [] {
      HashKey result;
      if (const auto* bytes = reinterpret_cast<const void*>(getauxval(AT_RANDOM)))
        std::memcpy(&result, bytes, sizeof result);
      return result;
    }();
    return key;
  }
};

// Finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). Not a secret by itself.
[[nodiscard]] constexpr std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

// SipHash-1-3 (Aumasson and Bernstein, INDOCRYPT 2012).
[[nodiscard]] inline std::uint64_t sip_hash(std::string_view text, const HashKey& key) {
  std::uint64_t v0 = key.first ^ 0x736f6d6570736575U;
  std::uint64_t v1 = key.second ^ 0x646f72616e646f6dU;
  std::uint64_t v2 = key.first ^ 0x6c7967656e657261U;
  std::uint64_t v3 = key.second ^ 0x7465646279746573U;
  const auto round = [&] {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  };
  const auto take = [&](std::uint64_t word) {
    v3 ^= word;
    round();
    v0 ^= word;
  };
  std::uint64_t last = std::uint64_t{text.size()} << 56;
  for (; text.size() >= sizeof last; text.remove_prefix(sizeof last)) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data(), sizeof word);
    take(word);
  }
  for (std::size_t i = 0; i < text.size(); ++i)
    last |= std::uint64_t{static_cast<unsigned char>(text[i])} << (8 * i);
  take(last);
  v2 ^= 0xff;
  for (int i = 0; i < 3; ++i) round();
  return v0 ^ v1 ^ v2 ^ v3;
}

struct KeyedHash {
  HashKey key = HashKey::of_this_process();

  [[nodiscard]] std::size_t operator()(std::string_view text) const { return sip_hash(text, key); }
  [[nodiscard]] std::size_t operator()(std::uint64_t number) const {
    return mix(mix(number + key.first) + key.second);
  }
};

}  // namespace memtrace
