// Would break: a walk taken for another one because a word was not compared, or walks of one recursion that
// drive one another out.
#include "preload/unwind/walk_memo.hpp"

#include <algorithm>
#include <memory>

#include "tests/support/catch.hpp"

using namespace memtrace;

namespace {

constexpr std::uint64_t kStamp = 5;

// Words that stand for a stack; a walk begins above the first.
struct Words {
  std::uintptr_t at[200] = {};
  [[nodiscard]] std::uintptr_t sp() const { return address(1); }
  [[nodiscard]] std::uintptr_t address(std::size_t i) const {
    return reinterpret_cast<std::uintptr_t>(at + i);
  }
};

void remember(RememberedWalk& walk, const Words& words, std::initializer_list<std::size_t> read,
              std::uint32_t stack) {
  walk.begin(words.sp(), 7, kStamp);
  std::size_t n = 0;
  for (const std::size_t i : read) walk.note(n++, words.address(i), words.at[i]);
  REQUIRE(walk.complete(n, words.address(read.end()[-1])));
  walk.publish(StackId{stack});
}

}  // namespace

TEST_CASE("a walk holds while every word that it read is the same, and no other word matters") {
  for (const std::initializer_list<std::size_t> read : {std::initializer_list<std::size_t>{0},
                                                        {0, 3, 4, 9},
                                                        {0, 3, 4, 9, 150},
                                                        {0, 1, 2, 3, 4, 5, 6, 7, 8}}) {
    Words words;
    const auto walk = std::make_unique<RememberedWalk>();
    CHECK_FALSE(walk->still_holds(words.sp(), 7, kStamp));
    remember(*walk, words, read, 1);
    for (std::size_t i = 0; i < std::size(words.at); ++i) {
      const bool was_read = std::find(read.begin(), read.end(), i) != read.end();
      words.at[i] ^= 1;
      CHECK(walk->still_holds(words.sp(), 7, kStamp) == !was_read);
      words.at[i] ^= 1;
    }
    CHECK_FALSE(walk->still_holds(words.sp() + 8, 7, kStamp));
    CHECK_FALSE(walk->still_holds(words.sp(), 7, kStamp + 1));  // another thread's, or by older rules
  }
}

TEST_CASE("the frame pointer matters to walks that used it") {
  const Words words;
  const auto walk = std::make_unique<RememberedWalk>();
  remember(*walk, words, {0, 5}, 1);
  CHECK(walk->still_holds(words.sp(), 8, kStamp));
  walk->begin(words.sp(), 7, kStamp);
  walk->note(0, words.address(0), words.at[0]);
  walk->uses_rbp();
  CHECK_FALSE(walk->still_holds(words.sp(), 7, kStamp));  // not yet published
  CHECK(walk->complete(1, words.address(0)));
  walk->publish(StackId{1});
  CHECK(walk->still_holds(words.sp(), 7, kStamp));
  CHECK_FALSE(walk->still_holds(words.sp(), 8, kStamp));
}

TEST_CASE("what does not fit is not remembered") {
  const Words words;
  const auto walk = std::make_unique<RememberedWalk>();
  walk->begin(words.sp(), 0, kStamp);
  for (std::size_t i = 0; i <= RememberedWalk::kMaxWords; ++i) walk->note(i, words.address(i), 0);
  CHECK(walk->complete(RememberedWalk::kMaxWords, words.address(RememberedWalk::kMaxWords - 1)));
  CHECK_FALSE(walk->complete(RememberedWalk::kMaxWords + 1, words.address(RememberedWalk::kMaxWords)));
  CHECK(walk->complete(1, words.address(0) + 8 * UINT16_MAX));
  CHECK_FALSE(walk->complete(1, words.address(0) + 8 * (UINT16_MAX + 1)));
}

TEST_CASE("four walks of one set are known side by side, the fifth takes the place of the first") {
  const auto memo = std::make_unique<WalkMemo>();
  Words words;
  std::uint16_t guess = 0;
  const auto look_up = [&](std::uintptr_t deep) {
    words.at[30] = deep;  // far from where the walk begins, as in a recursion
    return memo->look_up(12345, words.sp(), 7, kStamp, guess);
  };
  for (std::uintptr_t deep = 1; deep <= 5; ++deep) {
    const WalkMemo::Place place = look_up(deep);
    REQUIRE_FALSE(place.holds);
    CHECK(place.walk == &memo->walks[guess]);
    remember(*place.walk, words, {0, 1, 2, 3, 4, 30}, static_cast<std::uint32_t>(deep));
  }
  for (std::uintptr_t deep = 2; deep <= 5; ++deep) {
    const WalkMemo::Place place = look_up(deep);
    CHECK(place.holds);
    CHECK(place.walk == &memo->walks[guess]);
    CHECK(place.walk->stack.load() == StackId{static_cast<std::uint32_t>(deep)});
  }
  CHECK_FALSE(look_up(1).holds);
}

TEST_CASE("walks that come in turn from one place are each told by the two before them") {
  const auto memo = std::make_unique<WalkMemo>();
  constexpr std::uint16_t kInTurn[] = {3, 8, 3, 5, 8, 8, 5};
  int wrong = 0;
  for (int round = 0; round < 10; ++round) {
    for (const std::uint16_t walk : kInTurn) {
      std::uint16_t& guess = memo->guess_from(0x7000, 0x400100);
      if (round >= 2) wrong += guess != walk;  // once every pair has been seen
      guess = walk;
      memo->remember(walk);
    }
  }
  CHECK(wrong == 0);
}
