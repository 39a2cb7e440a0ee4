// Would break: a snapshot that is taken while the program goes on would hold half a record, or lose records
// and not say so.
#include "preload/snapshot_content.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>

#include "tests/support/catch.hpp"
#include "tests/support/reach.hpp"
#include "tests/support/stages.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;
using test::expect;

namespace {

template <class F>
bool snapshotting(F body) {
  const test::TempDir directory;
  return test::in_child([&] {
           test::start_stages(test::exact_options(directory.path().native()));
           body();
         })
      .fine();
}

constexpr unsigned kThreads = 8;
constexpr std::size_t kPage = 4096;

// Sizes say whose they are, and each thread allocates at a place of its own.
template <unsigned kThread>
[[gnu::noipa]] void* allocate(std::size_t n) {
  void* block = memtrace_hook_malloc(n * kThreads + kThread);
  asm volatile("" : "+r"(block));
  return block;
}
template <unsigned kThread>
[[gnu::noipa]] void* map_pages() {
  void* pages = memtrace_hook_mmap(nullptr, (kThread + 1) * kPage, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  asm volatile("" : "+r"(pages));
  return pages;
}
std::uint64_t whose(const Record& record) {
  return record.kind == AllocKind::kHeap ? record.size_bytes % kThreads : record.size_bytes / kPage - 1;
}

struct Held {
  std::array<std::atomic<void*>, 512> slots{};
  std::atomic<std::size_t> mappings{0};
};

// Frees what anybody allocated; maps more and more, and unmaps.
template <unsigned kThread>
void stay_busy(Held& held, const std::atomic<bool>& done) {
  std::uint64_t random = kThread + 1;
  unsigned kept = 0;
  while (!done) {
    random = random * 6364136223846793005 + 1442695040888963407;
    void* block = allocate<kThread>((random >> 40) % 100);
    memtrace_hook_free(held.slots[(random >> 20) % held.slots.size()].exchange(block));
    if (random >> 58 != 0) continue;
    void* pages = map_pages<kThread>();
    if (kept < 1000 && (random >> 56 & 3) == 0) {
      ++kept;
      ++held.mappings;
    } else {
      memtrace_hook_munmap(pages, (kThread + 1) * kPage);
    }
  }
}

// No record is half one thread's and half another's.
void expect_whole(const Snapshot& snapshot) {
  std::map<std::uint32_t, std::uint64_t> of_thread;
  std::map<std::uint32_t, std::uint64_t> of_stack;
  for (const Record& record : snapshot.records) {
    expect(of_thread.emplace(record.thread, whose(record)).first->second == whose(record));
    expect(of_stack.emplace(record.stack, whose(record)).first->second == whose(record));
    expect(snapshot.stacks.at(record.stack).frame_count > 0);
  }
  expect(snapshot.warnings.empty());
  expect(of_thread.size() <= kThreads);
}

struct Shards;
struct MapsLock;

}  // namespace

template struct memtrace::test::Reach<Shards, &LiveTable::shards_>;
template struct memtrace::test::Reach<MapsLock, &LiveMaps::lock_>;

TEST_CASE("what is written while eight threads allocate, free and map is whole") {
  CHECK(snapshotting([] {
    Held held;
    std::atomic<bool> done{false};
    test::run_threads(kThreads + 1, [&](unsigned thread) {
      constexpr void (*kBusy[])(Held&, const std::atomic<bool>&) = {stay_busy<0>, stay_busy<1>, stay_busy<2>,
                                                                    stay_busy<3>, stay_busy<4>, stay_busy<5>,
                                                                    stay_busy<6>, stay_busy<7>};
      if (thread < kThreads) return kBusy[thread](held, done);
      for (int i = 0; i < 10; ++i) expect_whole(test::take_and_read());
      done = true;
    });
    const Snapshot last = test::take_and_read();
    expect_whole(last);
    const auto blocks = std::ranges::count_if(held.slots, [](const auto& slot) { return slot != nullptr; });
    expect(last.records.size() == static_cast<std::size_t>(blocks) + held.mappings);
    expect(last.self.at("lost_lock") == 0);
  }));
}

TEST_CASE("what lies under a lock that cannot be had is left out, counted, and not said to be freed") {
  CHECK(snapshotting([] {
    for (std::size_t n = 0; n < 300; ++n) (void)allocate<0>(n % 10);
    for (int n = 0; n < 20; ++n) (void)map_pages<0>();
    std::uint32_t shard = 0;
    while (g_tracker.live.records_in(shard) < 2) ++shard;
    const std::size_t left_out = g_tracker.live.records_in(shard) + 20;
    // By threads that are gone.
    BoundedLock& heap = reach(test::Member<Shards>{}, g_tracker.live)[shard].lock;
    BoundedLock& maps = reach(test::Member<MapsLock>{}, g_tracker.maps);
    expect(heap.acquire(LockOwner{98}) && maps.acquire(LockOwner{99}));
    const Snapshot torn = test::take_and_read();
    expect(torn.records.size() == 320 - left_out);
    expect(torn.self.at("lost_in_snapshot") == left_out);
    expect(torn.self.at("samples") == 320);
    expect(torn.self.at("samples_freed") == 0);
    heap.release();
    maps.release();
    const Snapshot whole = test::take_and_read();
    expect(whole.records.size() == 320);
    expect(whole.self.at("lost_in_snapshot") == left_out);  // so far
    expect(whole.self.at("samples_freed") == 0);
  }));
}
