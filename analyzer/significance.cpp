#include "analyzer/significance.hpp"

#include <algorithm>
#include <boost/math/special_functions/beta.hpp>
#include <numeric>

namespace memtrace {

double binomial_test(std::uint64_t born, std::uint64_t died) {
  if (born == died) return 1;
  const auto larger = static_cast<double>(std::max(born, died));
  const auto smaller = static_cast<double>(std::min(born, died));
  // P(Binomial(n, 1/2) >= k) = I_{1/2}(k, n - k + 1); the distribution is symmetric, so the other tail is the
  // same.
  return std::min(1.0, 2 * boost::math::ibeta(larger, smaller + 1, 0.5));
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
