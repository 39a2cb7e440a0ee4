// Something for the compiler to chew on.
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

template <int N>
struct Tower {
  std::map<int, std::variant<int, std::string, std::vector<Tower<N - 1>>>> floors;
  std::function<int(int)> step = [this](int n) { return n + static_cast<int>(floors.size()) + N; };
};
template <>
struct Tower<0> {};

int main(int argc, char** argv) {
  Tower<24> tower;
  std::unordered_map<std::string, std::shared_ptr<std::regex>> cache;
  for (int i = 0; i < argc; ++i) cache[argv[i]] = std::make_shared<std::regex>("[a-z]+(x|y)*");
  std::vector<int> numbers(100);
  std::generate(numbers.begin(), numbers.end(), [&, n = 0]() mutable { return tower.step(n++); });
  std::sort(numbers.begin(), numbers.end(), std::greater<>());
  std::cout << cache.size() << ' ' << numbers.front() << '\n';
}
