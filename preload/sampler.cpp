#include "preload/sampler.hpp"

#include "preload/sampler_tables.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

__extension__ using Wide = unsigned __int128;

// SplitMix64 (Steele, Lea, Flood 2014): any 64-bit state, full period, one multiplication chain per draw.
std::uint64_t next_random(std::uint64_t& state) {
  state += 0x9e3779b97f4a7c15;
  std::uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

void Sampler::start(SamplingMode mode, std::uint64_t interval_bytes, std::uint64_t seed) {
  mode_ = mode;
  interval_bytes_ = mode == SamplingMode::kAll ? 1 : interval_bytes;
  seed_ = seed;
}

bool Sampler::rearm() const {
  ThreadState& thread = t_state;
  if (mode_ == SamplingMode::kAll) {
    thread.countdown = 0;
    return true;
  }
  const bool seeded = thread.random != 0;
  if (!seeded) {
    std::uint64_t mixed = seed_ + thread.serial * std::uint64_t{0xd1342543de82ef95};
    thread.random = next_random(mixed) | 1;
  }
  thread.countdown = exponential(next_random(thread.random), interval_bytes_);
  return seeded;
}

std::uint64_t Sampler::exponential(std::uint64_t random, std::uint64_t interval_bytes) {
  // -ln(U) = -log2(U) * ln 2 with U = random / 2^64; log2 of the mantissa by table.
  constexpr std::uint64_t kLn2 = 2977044472;  // ln 2 * 2^32
  random |= 1;                                // U > 0, and never exactly 1
  const int leading = __builtin_clzll(random);
  const std::uint64_t mantissa = (random << leading) << 1;  // bits after the leading one
  const std::uint64_t index = mantissa >> 54;
  const std::uint64_t fraction = (mantissa << 10) >> 32;
  const std::uint64_t low = kLog2[index];
  const std::uint64_t log2 = low + (((kLog2[index + 1] - low) * fraction) >> 32);
  const std::uint64_t minus_log2 = ((static_cast<std::uint64_t>(leading) + 1) << 32) - log2;
  return static_cast<std::uint64_t>((static_cast<Wide>(minus_log2) * kLn2 >> 32) * interval_bytes >> 32);
}

Weight Sampler::weight(std::uint64_t size_bytes) const {
  const std::uint64_t trials = size_bytes + (size_bytes == 0);
  const auto certain = [&] {
    const bool fits = size_bytes <= UINT64_MAX >> Weight::kBytesBits;
    return Weight{std::uint64_t{1} << Weight::kCountBits,
                  fits ? size_bytes << Weight::kBytesBits : UINT64_MAX};
  };
  if (mode_ == SamplingMode::kAll || trials / kWeightUnits >= interval_bytes_) return certain();

  // f(x) at x = trials / interval, by Newton's forward differences.
  const std::uint64_t scaled = trials * kWeightStepsPerUnit;
  const std::uint64_t index = scaled / interval_bytes_;
  const auto t = static_cast<std::int64_t>(((scaled % interval_bytes_) << 20) / interval_bytes_);  // 20 bits
  const auto f0 = static_cast<std::int64_t>(kWeightFactor[index]);
  const auto f1 = static_cast<std::int64_t>(kWeightFactor[index + 1]);
  const auto f2 = static_cast<std::int64_t>(kWeightFactor[index + 2]);
  const std::int64_t one = std::int64_t{1} << 20;
  const std::int64_t first = (f1 - f0) * t >> 20;
  const std::int64_t second = ((f2 - 2 * f1 + f0) * (t * (t - one) >> 21)) >> 20;
  const auto factor = static_cast<std::uint64_t>(f0 + first + second);  // 40 bits of fraction

  const Wide bytes = static_cast<Wide>(factor) * interval_bytes_;  // weight * 2^40
  Weight weight;
  weight.bytes = size_bytes == 0 ? 0 : static_cast<std::uint64_t>(bytes >> (40 - Weight::kBytesBits));
  weight.count = static_cast<std::uint64_t>((bytes / trials) >> (40 - Weight::kCountBits));
  return weight;
}

}  // namespace memtrace
