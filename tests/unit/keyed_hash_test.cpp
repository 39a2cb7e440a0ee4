// Would break: memdiff taking hours for a snapshot whose addresses or names were chosen to fall into one
// bucket.
#include "analyzer/keyed_hash.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "tests/support/catch.hpp"

using namespace memtrace;

namespace {

constexpr std::size_t kBuckets = 1031;
constexpr HashKey kKnown{1, 2};

// As many keys as an attacker likes that fall into one bucket under a known key.
template <class Make>
std::vector<decltype(Make{}(0))> colliding(Make make) {
  std::vector<decltype(Make{}(0))> keys;
  for (std::uint64_t i = 0; keys.size() < 1000; ++i) {
    if (KeyedHash{kKnown}(make(i)) % kBuckets == 0) keys.push_back(make(i));
  }
  return keys;
}

template <class Keys>
std::size_t fullest_bucket(const Keys& keys, const HashKey& key) {
  std::vector<std::size_t> counts(kBuckets);
  for (const auto& one : keys) ++counts[KeyedHash{key}(one) % kBuckets];
  return *std::ranges::max_element(counts);
}

constexpr auto kNumber = [](std::uint64_t i) { return i * 4096; };
constexpr auto kText = [](std::uint64_t i) { return "libfoo.so+" + std::to_string(i); };

}  // namespace

TEST_CASE("keys that collide under one key do not under another") {
  for (const HashKey& other : {HashKey{1, 3}, HashKey{2, 2}, HashKey{UINT64_MAX, 7}}) {
    CHECK(fullest_bucket(colliding(kNumber), other) < 12);
    CHECK(fullest_bucket(colliding(kText), other) < 12);
  }
  CHECK(fullest_bucket(colliding(kNumber), kKnown) == 1000);
}

TEST_CASE("the process has a key of its own, and keeps it") {
  const HashKey& key = HashKey::of_this_process();
  CHECK((key.first != 0 || key.second != 0));
  CHECK(KeyedHash{}(std::uint64_t{5}) == KeyedHash{}(std::uint64_t{5}));
  CHECK(KeyedHash{}(std::string_view("x")) == KeyedHash{}(std::string_view("x")));
}

TEST_CASE("every byte of a text and its length count") {
  const std::string text(40, 'a');
  const auto hash = KeyedHash{kKnown}(std::string_view(text));
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string other = text;
    other[i] = 'b';
    CHECK(KeyedHash{kKnown}(std::string_view(other)) != hash);
    CHECK(KeyedHash{kKnown}(std::string_view(text.substr(0, i))) != hash);
  }
}
