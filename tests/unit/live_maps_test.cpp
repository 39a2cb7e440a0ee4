// Would break: mapped memory that is counted twice, for ever, or not at all, after programs cut, move and
// overlay their mappings.
#include "preload/live_maps.hpp"

#include <array>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/reach.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;

namespace {

constexpr LockOwner kOwner{1};
constexpr std::uint64_t kBase = std::uint64_t{0x7f00} << 32;

std::uint64_t page(std::uint64_t n) { return kBase + n * kPageBytes; }

struct Maps {
  explicit Maps(std::uint64_t cap = std::uint64_t{1} << 30) {
    arena.start(cap);
    maps->start(arena);
  }
  LiveMaps* operator->() const { return maps.get(); }

  [[nodiscard]] bool insert(std::uint64_t first, std::uint64_t pages, std::uint64_t number,
                            AllocKind kind = AllocKind::kMmap) const {
    Mapping mapping;
    mapping.address = page(first);
    mapping.size_bytes = pages * kPageBytes;
    mapping.sample_number = number;
    mapping.kind = kind;
    return maps->insert(mapping, kOwner);
  }
  // Sample number -> bytes left.
  [[nodiscard]] std::map<std::uint64_t, std::uint64_t> bytes() const {
    std::vector<Mapping> copy(maps->mappings() + 1);
    std::map<std::uint64_t, std::uint64_t> all;
    const std::size_t copied = maps->copy(copy.data(), copy.size());
    for (std::size_t i = 0; i < copied; ++i) all[copy[i].sample_number] += copy[i].size_bytes;
    return all;
  }
  PageArena arena;
  std::unique_ptr<LiveMaps> maps = std::make_unique<LiveMaps>();
};

struct Gone {
  std::uint64_t number;
  std::uint64_t pages;
  bool last;
  friend bool operator==(const Gone&, const Gone&) = default;
};

std::vector<Gone> commit(const Maps& maps, LiveMaps::Removed& removed) {
  std::vector<Gone> gone;
  const bool done = maps->commit(removed, kOwner, [&](const Mapping& m, std::uint64_t bytes, bool last) {
    gone.push_back({m.sample_number, bytes / kPageBytes, last});
  });
  CHECK(done);
  return gone;
}

std::vector<Gone> unmap(const Maps& maps, std::uint64_t first, std::uint64_t pages) {
  LiveMaps::Removed removed;
  CHECK(maps->remove(page(first), page(first + pages), kOwner, removed));
  return commit(maps, removed);
}

struct Resized {
  std::uint64_t number;
  std::uint64_t old_pages;
  std::uint64_t pages;
  bool last;
  friend bool operator==(const Resized&, const Resized&) = default;
};

// What mremap of `pages` at `first` does: to another place, at another size.
std::vector<Resized> move(const Maps& maps, std::uint64_t first, std::uint64_t pages, std::uint64_t to,
                          std::uint64_t new_pages) {
  LiveMaps::Removed removed;
  CHECK(maps->remove(page(first), page(first + pages), kOwner, removed));
  std::vector<Resized> resized;
  const bool done =
      maps->move(removed, page(to), new_pages * kPageBytes, kOwner,
                 [&](const Mapping& m, std::uint64_t old_bytes, std::uint64_t bytes, bool last) {
                   resized.push_back({m.sample_number, old_bytes / kPageBytes, bytes / kPageBytes, last});
                 });
  CHECK(done);
  return resized;
}

struct Lock;
struct Slots;

}  // namespace

template struct memtrace::test::Reach<Lock, &LiveMaps::lock_>;
template struct memtrace::test::Reach<Slots, &LiveMaps::mapping_count_>;

TEST_CASE("a mapping cut in three counts one until its last page goes") {
  const Maps maps;
  REQUIRE(maps.insert(0, 10, 1));
  CHECK(unmap(maps, 4, 2) == std::vector<Gone>{{1, 2, false}});
  CHECK(maps.bytes() == std::map<std::uint64_t, std::uint64_t>{{1, 8 * kPageBytes}});
  CHECK(unmap(maps, 4, 2).empty());
  CHECK(unmap(maps, 0, 5) == std::vector<Gone>{{1, 4, false}});
  CHECK(unmap(maps, 5, 100) == std::vector<Gone>{{1, 4, true}});
  CHECK(maps.bytes().empty());
}

TEST_CASE("an unmapping that the kernel refused changes nothing") {
  const Maps maps;
  REQUIRE(maps.insert(0, 4, 1));
  REQUIRE(maps.insert(4, 4, 2, AllocKind::kReserved));
  const auto before = maps.bytes();
  LiveMaps::Removed removed;
  REQUIRE(maps->remove(page(2), page(6), kOwner, removed));
  AllocKind kind{};
  CHECK_FALSE(maps->kind_at(page(2), kOwner, kind));
  CHECK(maps->restore(removed, kOwner));
  CHECK(maps.bytes() == before);
  REQUIRE(maps->kind_at(page(2), kOwner, kind));
  CHECK(kind == AllocKind::kMmap);
  REQUIRE(maps->kind_at(page(6) - 1, kOwner, kind));
  CHECK(kind == AllocKind::kReserved);
  CHECK(unmap(maps, 0, 8) == std::vector<Gone>{{1, 2, false}, {1, 2, true}, {2, 2, false}, {2, 2, true}});
}

TEST_CASE("more pieces than fit in place are taken out at once, and back") {
  const Maps maps;
  constexpr std::uint64_t kMany = 500;
  for (std::uint64_t n = 0; n < kMany; ++n) REQUIRE(maps.insert(2 * n, 1, n));
  const auto before = maps.bytes();
  const std::uint64_t memory = maps.arena.used_bytes();
  LiveMaps::Removed removed;
  REQUIRE(maps->remove(page(0), page(2 * kMany), kOwner, removed));
  CHECK(removed.count == kMany);
  CHECK(maps.bytes().empty());
  CHECK(maps->restore(removed, kOwner));
  CHECK(maps.bytes() == before);
  CHECK(unmap(maps, 0, 2 * kMany).size() == kMany);
  CHECK(maps.bytes().empty());
  CHECK(maps.arena.used_bytes() == memory);  // the pieces' pages are given back
}

TEST_CASE("slots of mappings that are gone are used again") {
  const Maps maps;
  for (std::uint64_t n = 0; n < 100; ++n) REQUIRE(maps.insert(n, 1, n));
  auto& slots = reach(test::Member<Slots>{}, *maps.maps);
  CHECK(slots == 100);
  const std::uint64_t memory = maps.arena.used_bytes();
  for (std::uint64_t round = 0; round < 1000; ++round) {
    CHECK(unmap(maps, round % 100, 1).size() == 1);
    REQUIRE(maps.insert(round % 100, 1, 1000 + round));
  }
  CHECK(slots == 100);
  CHECK(maps->mappings() == 100);
  CHECK(maps.arena.used_bytes() == memory);
  CHECK(maps.bytes().size() == 100);
}

TEST_CASE("random maps, overlays, cuts, refusals and moves, against a page table") {
  constexpr std::uint64_t kPages = 400;
  struct Pending {
    LiveMaps::Removed removed;
    std::uint64_t first;
    std::uint64_t pages;
    std::array<std::uint64_t, kPages> owners;
  };
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    const Maps maps;
    std::mt19937_64 random(seed);
    std::array<std::uint64_t, kPages> table{};        // page -> sample number, 0: none
    std::array<bool, kPages> locked{};                // taken out, waiting for the kernel
    std::map<std::uint64_t, std::uint64_t> pages_of;  // table and pending
    std::vector<std::unique_ptr<Pending>> pending;
    std::uint64_t next = 1;

    const auto settle = [&](std::size_t which, bool gone) {
      const std::unique_ptr<Pending> p = std::move(pending[which]);
      pending.erase(pending.begin() + static_cast<std::ptrdiff_t>(which));
      std::map<std::uint64_t, std::uint64_t> pages_gone;
      for (std::uint64_t i = p->first; i < p->first + p->pages; ++i) {
        locked[i] = false;
        if (p->owners[i] == 0) continue;
        if (gone) {
          ++pages_gone[p->owners[i]];
        } else {
          table[i] = p->owners[i];
        }
      }
      if (!gone) {
        REQUIRE(maps->restore(p->removed, kOwner));
        return;
      }
      std::map<std::uint64_t, std::uint64_t> told;
      for (const Gone& piece : commit(maps, p->removed)) {
        told[piece.number] += piece.pages;
        pages_of[piece.number] -= piece.pages;
        REQUIRE(piece.last == (pages_of[piece.number] == 0));
      }
      REQUIRE(told == pages_gone);
    };
    const auto take = [&](std::uint64_t first, std::uint64_t pages) {
      auto p = std::make_unique<Pending>();
      p->first = first;
      p->pages = pages;
      p->owners = table;
      REQUIRE(maps->remove(page(first), page(first + pages), kOwner, p->removed));
      for (std::uint64_t i = first; i < first + pages; ++i) {
        table[i] = 0;
        locked[i] = true;
      }
      pending.push_back(std::move(p));
    };

    for (int step = 0; step < 3'000; ++step) {
      const std::uint64_t first = random() % kPages;
      const std::uint64_t most = random() % 8 == 0 ? kPages : 12;
      const std::uint64_t pages = 1 + random() % std::min(most, kPages - first);
      bool free_of_pending = true;
      for (std::uint64_t i = first; i < first + pages; ++i) free_of_pending &= !locked[i];
      const std::uint64_t what = random() % 10;
      if (what < 2 && !pending.empty()) {
        settle(random() % pending.size(), random() % 3 != 0);
      } else if (!free_of_pending) {
        continue;             // the kernel has not answered for these pages yet
      } else if (what < 6) {  // mmap, over whatever lies there
        take(first, pages);
        settle(pending.size() - 1, true);
        REQUIRE(maps.insert(first, pages, next));
        for (std::uint64_t i = first; i < first + pages; ++i) table[i] = next;
        pages_of[next++] = pages;
      } else {  // munmap or mremap, answered at once or later
        take(first, pages);
        if (what < 8) settle(pending.size() - 1, random() % 3 != 0);
      }

      std::map<std::uint64_t, std::uint64_t> expected;
      for (std::uint64_t i = 0; i < kPages; ++i) {
        AllocKind kind{};
        REQUIRE(maps->kind_at(page(i) + i % kPageBytes, kOwner, kind) == (table[i] != 0));
        if (table[i] != 0) expected[table[i]] += kPageBytes;
      }
      REQUIRE(maps.bytes() == expected);
    }
  }
}

TEST_CASE("eight threads map and unmap side by side") {
  const Maps maps;
  std::atomic<std::uint64_t> gone{0};
  std::atomic<int> failed{0};
  test::run_threads(8, [&](unsigned thread) {
    const LockOwner owner{thread + 1};
    Mapping mapping;
    mapping.size_bytes = 4 * kPageBytes;
    for (std::uint64_t n = 0; n < 2'000; ++n) {
      mapping.address = page((n % 50 * 8 + thread) * 4);
      LiveMaps::Removed removed;
      failed += !maps->remove(mapping.address, mapping.address + mapping.size_bytes, owner, removed);
      failed +=
          !maps->commit(removed, owner, [&](const Mapping&, std::uint64_t, bool last) { gone += last; });
      failed += !maps->insert(mapping, owner);
    }
  });
  CHECK(failed == 0);
  CHECK(gone == 8 * (2'000 - 50));
  std::vector<Mapping> copy(maps->mappings());
  CHECK(maps->copy(copy.data(), copy.size()) == 8 * 50);
}

TEST_CASE("a mapping that moves stays what it was, at its new place and size") {
  const Maps maps;
  REQUIRE(maps.insert(0, 10, 1));
  CHECK(move(maps, 0, 10, 100, 10).empty());
  CHECK(unmap(maps, 0, 10).empty());
  CHECK(move(maps, 100, 10, 200, 14) == std::vector<Resized>{{1, 10, 14, false}});
  CHECK(move(maps, 200, 14, 200, 3) == std::vector<Resized>{{1, 14, 3, false}});
  CHECK(maps.bytes() == std::map<std::uint64_t, std::uint64_t>{{1, 3 * kPageBytes}});
  Mapping copy;
  REQUIRE(maps->copy(&copy, 1) == 1);
  CHECK(copy.address == page(200));
  CHECK(unmap(maps, 200, 3) == std::vector<Gone>{{1, 3, true}});
}

TEST_CASE("a piece that moves belongs to its mapping, wherever the rest is") {
  const Maps maps;
  REQUIRE(maps.insert(0, 10, 1));
  CHECK(move(maps, 4, 2, 50, 5) == std::vector<Resized>{{1, 2, 5, false}});
  CHECK(maps.bytes() == std::map<std::uint64_t, std::uint64_t>{{1, 13 * kPageBytes}});
  CHECK(unmap(maps, 0, 10) == std::vector<Gone>{{1, 4, false}, {1, 4, false}});
  // The last piece of it: now that is where it is.
  CHECK(move(maps, 50, 5, 70, 5).empty());
  Mapping copy;
  REQUIRE(maps->copy(&copy, 1) == 1);
  CHECK(copy.address == page(70));
  CHECK(unmap(maps, 70, 5) == std::vector<Gone>{{1, 5, true}});
}

TEST_CASE("neighbours that move together keep their borders; what is cut off is gone") {
  const Maps maps;
  REQUIRE(maps.insert(0, 4, 1));
  REQUIRE(maps.insert(4, 4, 2));
  REQUIRE(maps.insert(8, 4, 3));
  CHECK(move(maps, 0, 12, 100, 6) == std::vector<Resized>{{2, 4, 2, false}, {3, 4, 0, true}});
  CHECK(maps.bytes() == std::map<std::uint64_t, std::uint64_t>{{1, 4 * kPageBytes}, {2, 2 * kPageBytes}});
  // Grown into what nobody knew: the part that was known does not reach there.
  CHECK(move(maps, 104, 5, 200, 9).empty());
  CHECK(unmap(maps, 200, 9) == std::vector<Gone>{{2, 2, true}});
  CHECK(maps.insert(0, 1, 4));  // takes the freed slot
  CHECK(reach(test::Member<Slots>{}, *maps.maps) == 3);
}

TEST_CASE("copies need room for every mapping") {
  const Maps maps;
  for (std::uint64_t n = 0; n < 5; ++n) REQUIRE(maps.insert(n, 1, n));
  std::vector<Mapping> copy(5);
  CHECK(maps->copy(copy.data(), 4) == SIZE_MAX);
  CHECK(maps->copy(copy.data(), 5) == 5);
}

TEST_CASE("without memory a mapping is lost, and what is known stays right") {
  const Maps nothing(0);
  CHECK_FALSE(nothing.insert(0, 1, 1));
  const Maps maps(2 * kPageBytes);  // a page of fragments, a page of mappings
  std::uint64_t n = 0;
  while (maps.insert(2 * n, 2, n + 1)) ++n;
  CHECK(n == kPageBytes / sizeof(Mapping));
  CHECK(maps.bytes().size() == n);
  LiveMaps::Removed removed;
  CHECK_FALSE(maps->remove(page(0), page(2 * n), kOwner, removed));  // more pieces than there is room for
  CHECK(maps.bytes().size() == n);
  for (std::uint64_t i = 0; i < n; ++i) CHECK(unmap(maps, 2 * i, 2).size() == 1);
  CHECK(maps.bytes().empty());
}

TEST_CASE("a handler inside its own thread's change is told so") {
  const Maps maps;
  REQUIRE(maps.insert(0, 4, 1));
  REQUIRE(reach(test::Member<Lock>{}, *maps.maps).acquire(kOwner));
  LiveMaps::Removed removed;
  AllocKind kind{};
  CHECK_FALSE(maps.insert(4, 1, 2));
  CHECK_FALSE(maps->remove(page(0), page(1), kOwner, removed));
  CHECK_FALSE(maps->restore(removed, kOwner));
  CHECK_FALSE(maps->move(removed, 0, kPageBytes, kOwner, [](auto&&...) {}));
  CHECK_FALSE(maps->kind_at(page(0), kOwner, kind));
  reach(test::Member<Lock>{}, *maps.maps).release();
  CHECK(maps.bytes() == std::map<std::uint64_t, std::uint64_t>{{1, 4 * kPageBytes}});
}

TEST_CASE("a forked child drops mappings only if they were being changed") {
  const Maps maps;
  for (std::uint64_t n = 0; n < 3; ++n) REQUIRE(maps.insert(n, 1, n));
  CHECK(unmap(maps, 1, 1).size() == 1);
  CHECK(maps->repair_after_fork(LockOwner::kNobody) == 0);
  CHECK(maps.bytes().size() == 2);
  REQUIRE(reach(test::Member<Lock>{}, *maps.maps).acquire(LockOwner{9}));
  CHECK(maps->repair_after_fork(LockOwner::kNobody) == 2);
  CHECK(maps.bytes().empty());
  CHECK(maps.insert(0, 1, 7));
  CHECK(maps.bytes().size() == 1);
}
