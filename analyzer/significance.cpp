#include "analyzer/significance.hpp"

#include <algorithm>
#include <boost/math/special_functions/beta.hpp>
#include <numeric>

namespace memtrace {

double growth_test(std::uint64_t born, std::uint64_t died) {
  if (born == 0) return 1;
  // P(Binomial(n, 1/2) >= k) = I_{1/2}(k, n - k + 1)
  return boost::math::ibeta(static_cast<double>(born), static_cast<double>(died) + 1, 0.5);
}

double binomial_test(std::uint64_t one, std::uint64_t other) {
  // The distribution is symmetric, so the other tail is the same.
  return std::min(1.0, 2 * growth_test(std::max(one, other), std::min(one, other)));
}

std::vector<double> benjamini_hochberg(std::span<const double> p_values) {
  std::vector<std::size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return p_values[a] > p_values[b]; });
  std::vector<double> adjusted(p_values.size());
  const auto n = static_cast<double>(p_values.size());
  double least = 1;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const auto rank = static_cast<double>(order.size() - i);
    least = std::min(least, p_values[order[i]] * n / rank);
    adjusted[order[i]] = least;
  }
  return adjusted;
}

}  // namespace memtrace
