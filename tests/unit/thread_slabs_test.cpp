// Would break: two threads that take each other's stack bounds, or a thread that takes those of one that
// ended.
#include "preload/thread_slabs.hpp"

#include <cstring>
#include <memory>
#include <set>
#include <thread>

#include "tests/support/catch.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;

namespace {

// A table for one test; the slab of the shim's own is forgotten meanwhile.
struct Table {
  std::unique_ptr<ThreadSlabs> slabs = std::make_unique<ThreadSlabs>();
  ThreadSlab* kept = t_state.slab;
  Table() { t_state.slab = nullptr; }
  ~Table() { t_state.slab = kept; }
};

}  // namespace

TEST_CASE("a thread has one slab, empty at first") {
  Table table;
  ThreadSlab* const mine = table.slabs->of_this_thread();
  REQUIRE(mine);
  CHECK(mine->owner == reinterpret_cast<std::uintptr_t>(&t_state));
  CHECK(mine->stack_low == 0);
  CHECK(mine->stack_high == 0);
  CHECK(table.slabs->of_this_thread() == mine);
  CHECK(t_state.slab == mine);
  t_state.slab = nullptr;  // as in a thread that begins at the place of one that ended
  mine->stack_low = 1;
  mine->stack_high = 2;
  CHECK(table.slabs->of_this_thread() == mine);
  CHECK(mine->stack_low == 0);
  CHECK(mine->stack_high == 0);
}

TEST_CASE("threads that live at the same time have different ones, whoever comes first") {
  constexpr unsigned kThreads = 64;
  for (int round = 0; round < 20; ++round) {
    Table table;
    ThreadSlab* found[kThreads] = {};
    std::latch all_looked(kThreads);
    test::run_threads(kThreads, [&](unsigned i) {
      t_state.slab = nullptr;
      found[i] = table.slabs->of_this_thread();
      all_looked.arrive_and_wait();
      t_state.slab = nullptr;
    });
    std::set<ThreadSlab*> different(std::begin(found), std::end(found));
    CHECK(!different.contains(nullptr));
    CHECK(different.size() == kThreads);
  }
}

TEST_CASE("thousands of threads one after the other need no more slabs than places they begin at") {
  Table table;
  std::set<ThreadSlab*> different;
  for (int i = 0; i < 3000; ++i) {
    std::thread([&] {
      different.insert(table.slabs->of_this_thread());
      t_state.slab = nullptr;
    }).join();
  }
  CHECK(!different.contains(nullptr));
  CHECK(different.size() < 100);
}

TEST_CASE("a full table gives none, and a place that becomes free is taken") {
  Table table;
  std::memset(static_cast<void*>(table.slabs.get()), 0x11,
              sizeof(ThreadSlabs));  // owned by nobody who is here
  CHECK(table.slabs->of_this_thread() == nullptr);
  CHECK(t_state.slab == nullptr);
  std::memset(static_cast<void*>(table.slabs.get()), 0, sizeof(ThreadSlabs));
  CHECK(table.slabs->of_this_thread() != nullptr);
}
