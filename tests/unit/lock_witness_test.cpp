// Would break: a second lock taken under a first would go unseen until two threads wait for each other: the
// witness must see it, whichever way the locks are taken, and must not see what is allowed.
#if !defined(MEMTRACE_LOCK_WITNESS)
#define MEMTRACE_LOCK_WITNESS  // whatever the build's kind; other objects' locks have another name then
#endif
#include <csignal>

#include "preload/sys/bounded_lock.hpp"
#include "tests/support/captured_stderr.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/child.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;

namespace {
constexpr LockOwner kFirst{1};
constexpr LockOwner kSecond{2};

// What fd 2 got of a child that runs body(), which the witness has to kill.
template <class F>
std::string last_words(F body) {
  test::CapturedStderr captured;
  const test::ChildEnd end = test::in_child([&] {
    std::signal(SIGILL, SIG_DFL);  // Catch's own handler would say something, too
    body();
  });
  CHECK(WIFSIGNALED(end.status));
  return captured.text();
}
constexpr const char* kWords = "memtrace: a thread takes a lock while it holds another (P4)\n";
}  // namespace

TEST_CASE("a second lock under a first ends the test, whichever way it is taken") {
  BoundedLock first;
  BoundedLock second;
  CHECK(last_words([&] {
          const LockScope outer(first, kFirst);
          const LockScope inner(second, kFirst);
          test::expect(false);
        }) == kWords);
  CHECK(last_words([&] {
          test::expect(first.try_acquire(kFirst));
          test::expect(second.try_acquire(kFirst));
          test::expect(false);
        }) == kWords);
}

TEST_CASE("a second lock that had to be waited for is seen, too") {
  CHECK(last_words([] {
          BoundedLock first;
          BoundedLock second;
          std::atomic<bool> held{false};
          std::thread other([&] {
            test::expect(second.acquire(kSecond));
            held.store(true);
            held.notify_one();
            const timespec while_the_other_waits{0, 20'000'000};  // or does not yet: either way is seen
            nanosleep(&while_the_other_waits, nullptr);
            second.release();
          });
          held.wait(false);
          const LockScope outer(first, kFirst);
          const LockScope inner(second, kFirst);
          test::expect(false);
        }) == kWords);
}

TEST_CASE("one lock after the other is allowed, and what was refused is not held") {
  BoundedLock first;
  BoundedLock second;
  for (int i = 0; i < 3; ++i) {
    { const LockScope scope(first, kFirst); }
    const LockScope scope(second, kFirst);
    const LockScope nested(second, kFirst);  // refused: this thread has it
    CHECK(scope.held());
    CHECK_FALSE(nested.held());
  }
  CHECK(first.acquire(kFirst));
  first.release();
}

TEST_CASE("each thread has its own") {
  BoundedLock locks[4];
  test::run_threads(4, [&](unsigned thread) {
    for (int i = 0; i < 1000; ++i) {
      const LockScope scope(locks[thread], LockOwner{thread + 1});
      if (!scope.held()) std::abort();
    }
  });
}
