// Would break: two stacks under one id (a leak blamed on the wrong code), one stack under two ids (a leak
// split until nobody sees it), or an id whose frames are gone.
#include "preload/stack_store.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;

namespace {

using Frames = std::vector<ReturnAddress>;

// What store.hpp promises of its tables; the tests of overflow and of memory rest on it.
constexpr std::uint64_t kFirstSlots = 1 << 14;
constexpr std::uint64_t kProbes = 16;
constexpr std::uint64_t kChunkBytes = 1 << 19;

struct Store {
  explicit Store(std::uint64_t cap = std::uint64_t{1} << 30) {
    arena.start(cap);
    store->start(arena);
  }
  PageArena arena;
  std::unique_ptr<StackStore> store = std::make_unique<StackStore>();
  StackStore* operator->() const { return store.get(); }
};

// The n-th of endlessly many distinct stacks, of 1 to 40 frames.
Frames stack_number(std::uint64_t n) {
  Frames frames(1 + n % 40);
  for (std::size_t i = 0; i < frames.size(); ++i) frames[i] = static_cast<ReturnAddress>(n * 64 + i + 1);
  return frames;
}

bool holds(const Store& store, StackId id, const Frames& frames) {
  const StackEntry* entry = store->find(id);
  return entry && std::ranges::equal(entry->frames(), frames);
}

std::uint64_t hash_of(const Frames& frames) {
  return XXH3_64bits(frames.data(), frames.size() * sizeof(ReturnAddress));
}

}  // namespace

TEST_CASE("equal frames give one id, different frames another") {
  const Store store;
  const StackId a = store->intern(stack_number(1), false);
  const StackId b = store->intern(stack_number(2), false);
  CHECK(a != StackId::kNone);
  CHECK(b != StackId::kNone);
  CHECK(a != b);
  CHECK(store->intern(stack_number(1), false) == a);
  CHECK(store->size() == 2);
  CHECK(holds(store, a, stack_number(1)));
  CHECK(holds(store, b, stack_number(2)));
}

TEST_CASE("order, length and truncation tell stacks apart") {
  const Store store;
  const Frames up = {ReturnAddress{1}, ReturnAddress{2}, ReturnAddress{3}};
  const Frames down = {ReturnAddress{3}, ReturnAddress{2}, ReturnAddress{1}};
  const Frames part = {ReturnAddress{1}, ReturnAddress{2}};
  const std::set<StackId> ids = {store->intern(up, false), store->intern(down, false),
                                 store->intern(part, false), store->intern(part, true)};
  CHECK(ids.size() == 4);
  CHECK(store->find(store->intern(part, true))->truncated == 1);
  CHECK(store->find(store->intern(part, false))->truncated == 0);
}

TEST_CASE("ids that were not given have no stack") {
  const Store store;
  CHECK(store->size() == 0);
  CHECK(store->find(StackId::kNone) == nullptr);
  CHECK(store->find(StackId{1}) == nullptr);
  (void)store->intern(stack_number(1), false);
  CHECK(store->find(StackId{2}) == nullptr);
  CHECK(store->find(StackId{UINT32_MAX}) == nullptr);
}

TEST_CASE("stacks whose hashes are equal in all 64 bits stay two stacks") {
  // XXH3 adds the second word and the byte-swapped first one when the other is zero after its mask: two pairs
  // of words with one hash. The masks are found through the function itself.
  const auto* secret = reinterpret_cast<const std::uint64_t*>(XXH3_kSecret + 24);
  const std::uint64_t first_mask = secret[0] ^ secret[1];
  const std::uint64_t second_mask = secret[2] ^ secret[3];
  constexpr std::uint64_t kWord = 0x0123456789abcdef;
  const Frames a = {ReturnAddress{first_mask}, ReturnAddress{second_mask ^ kWord}};
  const Frames b = {ReturnAddress{first_mask ^ __builtin_bswap64(kWord)}, ReturnAddress{second_mask}};
  REQUIRE(a != b);
  REQUIRE(hash_of(a) == hash_of(b));
  const Store store;
  const StackId id_a = store->intern(a, false);
  const StackId id_b = store->intern(b, false);
  CHECK(id_a != id_b);
  CHECK(holds(store, id_a, a));
  CHECK(holds(store, id_b, b));
  CHECK(store->intern(a, false) == id_a);
  CHECK(store->intern(b, false) == id_b);
}

TEST_CASE("what finds no free slot in its window goes to the next level, and is found there") {
  const Store store;
  std::vector<Frames> same_window;
  for (std::uint64_t n = 0; same_window.size() < 5 * kProbes; ++n) {
    Frames frames = {static_cast<ReturnAddress>(n + 1)};
    if ((hash_of(frames) & (kFirstSlots - 1)) == 1234) same_window.push_back(frames);
  }
  std::vector<StackId> ids;
  std::uint64_t before = 0;
  for (std::size_t i = 0; i < same_window.size(); ++i) {
    if (i == kProbes) before = store.arena.used_bytes();
    ids.push_back(store->intern(same_window[i], false));
    if (i == kProbes) CHECK(store.arena.used_bytes() - before == 4 * kFirstSlots * sizeof(std::uint64_t));
  }
  CHECK(std::set<StackId>(ids.begin(), ids.end()).size() == ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    CHECK(store->intern(same_window[i], false) == ids[i]);
    CHECK(holds(store, ids[i], same_window[i]));
  }
  CHECK(store->size() == ids.size());
}

TEST_CASE("300 000 stacks: every id is found, whole, in one chunk, and again") {
  const Store store;
  constexpr std::uint32_t kStacks = 300'000;
  for (std::uint32_t n = 0; n < kStacks; ++n) {
    REQUIRE(store->intern(stack_number(n), n % 3 == 0) == StackId{n + 1});
  }
  CHECK(store->size() == kStacks);
  std::uint32_t wrong = 0;
  std::uint32_t torn = 0;
  std::set<std::uintptr_t> chunks;
  for (std::uint32_t n = 0; n < kStacks; ++n) {
    const StackId id{n + 1};
    wrong += !holds(store, id, stack_number(n)) || (store->find(id)->truncated != 0) != (n % 3 == 0);
    wrong += store->intern(stack_number(n), n % 3 == 0) != id;
    const auto begin = reinterpret_cast<std::uintptr_t>(store->find(id));
    const auto end =
        reinterpret_cast<std::uintptr_t>(store->find(id)->frames().data() + store->find(id)->frames().size());
    torn += begin / kChunkBytes != (end - 1) / kChunkBytes;
    chunks.insert(begin / kChunkBytes);
  }
  CHECK(wrong == 0);
  CHECK(torn == 0);
  CHECK(chunks.size() > 100);
  CHECK(store->size() == kStacks);
}

TEST_CASE("entries fill a chunk to its last byte, and the next one opens another") {
  const Store store;
  // 16 bytes of header, then 1023 entries of 512 bytes and one of 496: exactly one chunk.
  const auto frames_for = [](std::uint64_t bytes, std::uint64_t n) {
    Frames frames((bytes - sizeof(StackEntry)) / sizeof(ReturnAddress));
    frames[0] = static_cast<ReturnAddress>(n + 1);
    return frames;
  };
  for (std::uint64_t n = 0; n < 1023; ++n) (void)store->intern(frames_for(512, n), false);
  const StackId last = store->intern(frames_for(496, 1023), false);
  const std::uint64_t full = store.arena.used_bytes();
  const StackId next = store->intern(frames_for(512, 1024), false);
  CHECK(store.arena.used_bytes() == full + kChunkBytes);
  CHECK(holds(store, last, frames_for(496, 1023)));
  CHECK(holds(store, next, frames_for(512, 1024)));
  const auto end = reinterpret_cast<std::uintptr_t>(store->find(last)) + 496;
  CHECK(end % kChunkBytes == 0);
}

TEST_CASE("eight threads that intern the same stacks agree on their ids, and count exactly") {
  const Store store;
  constexpr std::uint32_t kStacks = 20'000;
  std::vector<std::vector<StackId>> ids(8, std::vector<StackId>(kStacks));
  test::run_threads(8, [&](unsigned thread) {
    std::vector<std::uint32_t> order(kStacks);
    for (std::uint32_t n = 0; n < kStacks; ++n) order[n] = n;
    if (thread % 2 == 1) std::shuffle(order.begin(), order.end(), std::mt19937_64(thread));
    for (const std::uint32_t n : order) {
      const StackId id = store->intern(stack_number(n), false);
      ids[thread][n] = id;
      if (StackEntry* entry = store->find(id)) entry->allocated_count.fetch_add(1);
    }
  });
  for (const auto& of_thread : ids) CHECK(of_thread == ids[0]);
  CHECK(std::set<StackId>(ids[0].begin(), ids[0].end()).size() == kStacks);
  std::uint64_t counted = 0;
  for (std::uint32_t n = 0; n < kStacks; ++n) {
    CHECK(holds(store, ids[0][n], stack_number(n)));
    CHECK(store->find(ids[0][n])->allocated_count == 8);
  }
  // Ids that lost a race have a whole entry and no counts.
  for (std::uint32_t n = 1; n <= store->size(); ++n) {
    const StackEntry* entry = store->find(StackId{n});
    REQUIRE(entry != nullptr);
    counted += entry->allocated_count;
  }
  CHECK(counted == 8 * kStacks);
}

TEST_CASE("without memory nothing is interned") {
  const Store store(0);
  CHECK(store->intern(stack_number(1), false) == StackId::kNone);
  CHECK(store->size() == 0);
}

TEST_CASE("full: new stacks are refused, known ones keep their ids") {
  const Store store(std::uint64_t{2} << 20);
  std::vector<StackId> ids;
  for (std::uint64_t n = 0;; ++n) {
    const StackId id = store->intern(stack_number(n), false);
    if (id == StackId::kNone) break;
    ids.push_back(id);
  }
  CHECK(ids.size() > 1'000);
  CHECK(store.arena.used_bytes() <= std::uint64_t{2} << 20);
  for (std::uint64_t n = 0; n < ids.size(); ++n) {
    REQUIRE(store->intern(stack_number(n), false) == ids[n]);
    REQUIRE(holds(store, ids[n], stack_number(n)));
  }
  CHECK(store->intern(stack_number(ids.size()), false) == StackId::kNone);
}
