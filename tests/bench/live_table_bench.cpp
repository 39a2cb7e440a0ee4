// What the live table and its filter cost: every free asks the filter; in mode all each allocation and each
// free goes to the table.
//
//   live_table_bench [--benchmark_filter=...]      figures only, nothing is asserted
//
// Addresses are those of a heap in use, in random order, so that at 10^6 live records each operation misses
// the caches, as it does in a host.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "preload/live_table.hpp"

namespace {

using namespace memtrace;

std::vector<std::uint64_t> heap_of(std::size_t blocks, std::uint64_t base = 0x5555'5575'92a0) {
  std::mt19937_64 random(blocks);
  std::lognormal_distribution<double> size(4, 1);
  std::vector<std::uint64_t> addresses(blocks);
  for (std::uint64_t& address : addresses) {
    address = base;
    base += (static_cast<std::uint64_t>(size(random)) + 8 + 15) / 16 * 16 + 16;
  }
  std::ranges::shuffle(addresses, random);
  return addresses;
}

LiveRecord record_of(std::uint64_t address) {
  LiveRecord record;
  record.address = address;
  record.size_bytes = address & 0xfff;
  record.sample_number = address >> 4 & 0xffff;
  record.birth_ns = 1'000'000'000;
  record.stack = StackId{77};
  record.thread = 3;
  return record;
}

struct Table {
  Table(LiveTable::Filter filter, std::uint32_t shards) {
    arena.start(std::uint64_t{64} << 30);
    table->start(arena, shards, filter);
  }
  void insert(std::uint64_t address, LockOwner owner) const {
    LiveRecord replaced;
    benchmark::DoNotOptimize(table->insert(record_of(address), owner, replaced));
  }
  void erase(std::uint64_t address, LockOwner owner) const {
    LiveRecord erased;
    benchmark::DoNotOptimize(table->erase(Address{address}, owner, erased));
    benchmark::DoNotOptimize(erased);
  }
  PageArena arena;
  std::unique_ptr<LiveTable> table = std::make_unique<LiveTable>();
};

LockOwner owner_of(const benchmark::State& state) {
  return LockOwner{static_cast<std::uint32_t>(state.thread_index()) + 1};
}

std::unique_ptr<Table> g_table;

// One erase and one insert, at so many live records in all threads together. Each thread has blocks of its
// own.
void insert_and_erase(benchmark::State& state) {
  const auto live = static_cast<std::size_t>(state.range(0) / state.threads());
  if (state.thread_index() == 0)
    g_table = std::make_unique<Table>(LiveTable::Filter::kEveryAddress, LiveTable::kMaxShards);
  const LockOwner owner = owner_of(state);
  const std::vector<std::uint64_t> heap =
      heap_of(2 * live, 0x5555'0000'0000 + (static_cast<std::uint64_t>(state.thread_index()) << 36));
  std::size_t next = live;
  std::size_t last = 0;
  bool filled = false;
  for (auto _ : state) {
    if (!filled) {  // behind the benchmark's barrier: the table is there
      state.PauseTiming();
      for (std::size_t i = 0; i < live; ++i) g_table->insert(heap[i], owner);
      filled = true;
      state.ResumeTiming();
    }
    g_table->erase(heap[last], owner);
    g_table->insert(heap[next], owner);
    if (++last == heap.size()) last = 0;
    if (++next == heap.size()) next = 0;
  }
  if (state.thread_index() == 0) {
    state.counters["bytes/live"] =
        static_cast<double>(g_table->arena.used_bytes()) / static_cast<double>(state.range(0));
  }
}
BENCHMARK(insert_and_erase)
    ->RangeMultiplier(10)
    ->Range(1'000, 10'000'000)
    ->Threads(1)
    ->Threads(2)
    ->UseRealTime();

// What one thread inserts another erases, handed over through a slot each.
std::vector<std::atomic<std::uint64_t>> g_slots(1 << 16);
template <bool kTable>
void erase_elsewhere(benchmark::State& state) {
  if (state.thread_index() == 0) {
    g_table = std::make_unique<Table>(LiveTable::Filter::kEveryAddress, LiveTable::kMaxShards);
    for (auto& slot : g_slots) slot = 0;
  }
  const LockOwner owner = owner_of(state);
  const std::vector<std::uint64_t> heap =
      heap_of(1 << 18, 0x5555'0000'0000 + (static_cast<std::uint64_t>(state.thread_index()) << 36));
  std::uint64_t random = 1 + static_cast<std::uint64_t>(state.thread_index());
  std::vector<std::uint64_t> spare = heap;
  for (auto _ : state) {
    random = random * 6364136223846793005 + 1442695040888963407;
    const std::uint64_t address = spare.back();
    if constexpr (kTable) g_table->insert(address, owner);
    // What comes out becomes this thread's own spare block.
    const std::uint64_t other = g_slots[random >> 48].exchange(address);
    if (other) {
      if constexpr (kTable) g_table->erase(other, owner);
      spare.back() = other;
    } else {
      spare.pop_back();
    }
  }
}
BENCHMARK(erase_elsewhere<true>)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(erase_elsewhere<false>)->Threads(1)->Threads(2)->UseRealTime();

// A free's question about a block that is not there, and how often the answer is "maybe".
void filter_question(benchmark::State& state) {
  const auto live = static_cast<std::size_t>(state.range(0));
  const Table table(LiveTable::Filter::kCounting, 64);
  const std::vector<std::uint64_t> heap = heap_of(live + (1 << 20));
  for (std::size_t i = 0; i < live; ++i) table.insert(heap[i], LockOwner{1});
  std::uint64_t maybe = 0;
  std::size_t i = live;
  for (auto _ : state) {
    maybe += table.table->may_contain(heap[i]);
    if (++i == heap.size()) i = live;
  }
  state.counters["maybe %"] = 100 * static_cast<double>(maybe) / static_cast<double>(state.iterations());
  state.counters["bytes/live"] = static_cast<double>(table.arena.used_bytes()) / static_cast<double>(live);
}
BENCHMARK(filter_question)->RangeMultiplier(10)->Range(1'000, 1'000'000);

// The same, and the table asked in vain where it is "maybe".
void filter_question_and_lookup(benchmark::State& state) {
  const auto live = static_cast<std::size_t>(state.range(0));
  const Table table(LiveTable::Filter::kCounting, 64);
  const std::vector<std::uint64_t> heap = heap_of(live + (1 << 20));
  for (std::size_t i = 0; i < live; ++i) table.insert(heap[i], LockOwner{1});
  std::size_t i = live;
  for (auto _ : state) {
    if (table.table->may_contain(heap[i])) table.erase(heap[i], LockOwner{1});
    if (++i == heap.size()) i = live;
  }
}
BENCHMARK(filter_question_and_lookup)->RangeMultiplier(10)->Range(1'000, 1'000'000);

// One shard under its lock, of a million live records.
void copy_shard(benchmark::State& state) {
  const Table table(LiveTable::Filter::kEveryAddress, LiveTable::kMaxShards);
  for (const std::uint64_t address : heap_of(static_cast<std::size_t>(state.range(0))))
    table.insert(address, LockOwner{1});
  std::vector<LiveRecord> out(static_cast<std::size_t>(state.range(0)));
  std::uint32_t shard = 0;
  std::size_t copied = 0;
  for (auto _ : state) {
    copied += table.table->copy_shard(shard, out.data(), out.size());
    shard = (shard + 1) % table.table->shard_count();
  }
  state.counters["records"] = static_cast<double>(copied) / static_cast<double>(state.iterations());
}
BENCHMARK(copy_shard)->RangeMultiplier(10)->Range(1'000'000, 10'000'000);

// Growing from nothing, with everything that is copied on the way.
void grow(benchmark::State& state) {
  const std::vector<std::uint64_t> heap = heap_of(static_cast<std::size_t>(state.range(0)));
  double bytes = 0;
  for (auto _ : state) {
    const Table table(LiveTable::Filter::kEveryAddress, LiveTable::kMaxShards);
    for (const std::uint64_t address : heap) table.insert(address, LockOwner{1});
    bytes = static_cast<double>(table.arena.used_bytes());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.counters["bytes/live"] = bytes / static_cast<double>(state.range(0));
}
BENCHMARK(grow)->RangeMultiplier(10)->Range(1'000, 10'000'000)->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
