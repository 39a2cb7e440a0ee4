// Would break: the host hangs. A signal handler that meets its own thread's lock, a waiter nobody wakes, a
// forked child that waits for a thread it does not have.
#include "preload/sys/bounded_lock.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/child.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;

namespace {
constexpr LockOwner kFirst{1};
constexpr LockOwner kSecond{2};
}  // namespace

TEST_CASE("one holder at a time") {
  BoundedLock lock;
  std::uint64_t counter = 0;  // not atomic: the lock is what keeps it right
  std::atomic<std::uint64_t> lost{0};
  test::run_threads(8, [&](unsigned thread) {
    for (int i = 0; i < 20'000; ++i) {
      const LockScope scope(lock, LockOwner{thread + 1});
      if (scope.held()) {
        ++counter;
      } else {
        ++lost;
      }
    }
  });
  CHECK(counter == 160'000);
  CHECK(lost.load() == 0);
}

TEST_CASE("a thread that meets its own lock is told at once, and the lock stays held") {
  BoundedLock lock;
  REQUIRE(lock.acquire(kFirst));
  const std::int64_t before = sys::clock_ns(CLOCK_MONOTONIC);
  {
    const LockScope nested(lock, kFirst);
    CHECK_FALSE(nested.held());
  }
  CHECK(sys::clock_ns(CLOCK_MONOTONIC) - before < 1'000'000'000);
  // The scope that did not get it has not released it.
  bool other = true;
  test::run_threads(1, [&](unsigned) { other = lock.reset_after_fork(LockOwner::kNobody); });
  CHECK(other);
  lock.release();  // of which this thread knew nothing
}

TEST_CASE("waiting ends when the holder does not let go") {
  BoundedLock lock;
  REQUIRE(lock.acquire(kFirst));
  const std::int64_t before = sys::clock_ns(CLOCK_MONOTONIC);
  CHECK_FALSE(lock.acquire(kSecond));
  CHECK(sys::clock_ns(CLOCK_MONOTONIC) - before >= 2'000'000'000);
  // The holder is gone, it seems: once is enough.
  const std::int64_t after = sys::clock_ns(CLOCK_MONOTONIC);
  for (int i = 0; i < 100; ++i) CHECK_FALSE(lock.acquire(kSecond));
  CHECK(sys::clock_ns(CLOCK_MONOTONIC) - after < 1'000'000'000);
  // The waiter left marks for the holder; the holder still knows itself and can let go.
  CHECK_FALSE(lock.acquire(kFirst));
  lock.release();
  CHECK(lock.acquire(kSecond));
  lock.release();
}

TEST_CASE("many holders that do not let go are waited for hardly longer than one") {
  // In a child: how patient a process is goes from test to test.
  CHECK(test::in_child([] {
          static BoundedLock locks[200];
          const std::int64_t before = sys::clock_ns(CLOCK_MONOTONIC);
          std::uint32_t holder = 10;  // one for each: nobody has two
          for (BoundedLock& lock : locks) {
            test::expect(lock.acquire(LockOwner{holder++}));
            test::expect(!lock.acquire(kSecond));
          }
          test::expect(sys::clock_ns(CLOCK_MONOTONIC) - before < 60'000'000'000);  // not 400 seconds
        }).fine());
}

TEST_CASE("a forked child gets the lock of a thread that vanished, and knows") {
  BoundedLock lock;
  CHECK_FALSE(lock.reset_after_fork(LockOwner::kNobody));
  REQUIRE(lock.acquire(kSecond));
  CHECK_FALSE(lock.reset_after_fork(kSecond));  // not gone: in the midst of its section
  CHECK_FALSE(lock.acquire(kSecond));
  CHECK(lock.reset_after_fork(kFirst));
  CHECK(lock.acquire(kFirst));
  lock.release();
}
