#include "preload/sampler_tables.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {

// Evaluated by the compiler: nothing of this remains but the numbers.
constexpr auto make_log2() {
  std::array<std::uint64_t, kLogSteps + 1> table{};
  for (int i = 0; i <= kLogSteps; ++i) {
    table[static_cast<std::size_t>(i)] = static_cast<std::uint64_t>(
        __builtin_log2(1.0 + static_cast<double>(i) / kLogSteps) * 4294967296.0 + 0.5);
  }
  return table;
}

constexpr auto make_weight_factor() {
  std::array<std::uint64_t, kWeightStepsPerUnit * kWeightUnits + 3> table{};
  table[0] = std::uint64_t{1} << 40;  // the limit at x = 0
  for (std::size_t i = 1; i < table.size(); ++i) {
    const double x = static_cast<double>(i) / kWeightStepsPerUnit;
    table[i] = static_cast<std::uint64_t>(x / -__builtin_expm1(-x) * 1099511627776.0 + 0.5);
  }
  return table;
}

constexpr std::array<std::uint64_t, kLogSteps + 1> kLog2 = make_log2();
constexpr std::array<std::uint64_t, kWeightStepsPerUnit* kWeightUnits + 3> kWeightFactor =
    make_weight_factor();

}  // namespace memtrace
