// Would break: a forked child writes under its parent's name, or waits for locks of threads it does not have.
#include "preload/fork_guard.hpp"

#include <sched.h>
#include <sys/syscall.h>

#include <csignal>

#include "tests/support/catch.hpp"
#include "tests/support/child.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;
using test::expect;

TEST_CASE("before start every process is known") {
  ForkGuard guard;
  CHECK(guard.check() == ForkGuard::State::kKnown);
  CHECK(guard.generation() == 0);
}

TEST_CASE("a child is new once, and a grandchild again") {
  ForkGuard guard;
  REQUIRE(guard.start());
  CHECK(guard.check() == ForkGuard::State::kKnown);
  const test::ChildEnd end = test::in_child([&] {
    expect(guard.check() == ForkGuard::State::kNewChild);
    expect(guard.generation() == 1);
    expect(guard.check() == ForkGuard::State::kBeingAdopted);
    guard.adopted();
    expect(guard.check() == ForkGuard::State::kKnown);
    const test::ChildEnd grandchild = test::in_child([&] {
      expect(guard.check() == ForkGuard::State::kNewChild);
      expect(guard.generation() == 2);
    });
    expect(grandchild.fine());
    expect(guard.check() == ForkGuard::State::kKnown);
  });
  CHECK(end.fine());
  CHECK(guard.check() == ForkGuard::State::kKnown);
  CHECK(guard.generation() == 0);
}

TEST_CASE("a child forked while another was being adopted is new as well") {
  ForkGuard guard;
  REQUIRE(guard.start());
  const test::ChildEnd end = test::in_child([&] {
    expect(guard.check() == ForkGuard::State::kNewChild);
    expect(test::in_child([&] { expect(guard.check() == ForkGuard::State::kNewChild); }).fine());
  });
  CHECK(end.fine());
}

TEST_CASE("a child made without libc is noticed") {
  ForkGuard guard;
  REQUIRE(guard.start());
  const long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (child == 0) {
    const bool fine = guard.check() == ForkGuard::State::kNewChild;
    syscall(SYS_exit_group, fine ? 0 : 1);
  }
  REQUIRE(child > 0);
  int status = -1;
  REQUIRE(waitpid(static_cast<pid_t>(child), &status, 0) == child);
  CHECK(status == 0);
}

TEST_CASE("of eight threads in a child, one adopts and none goes on before it is done") {
  ForkGuard guard;
  REQUIRE(guard.start());
  const test::ChildEnd end = test::in_child([&] {
    std::atomic<int> adopters{0};
    std::atomic<bool> ready{false};
    std::atomic<int> too_early{0};
    test::run_threads(8, [&](unsigned) {
      for (;;) {
        const ForkGuard::State state = guard.check();
        if (state == ForkGuard::State::kNewChild) {
          ++adopters;
          ready = true;
          guard.adopted();
        }
        if (state != ForkGuard::State::kKnown) continue;
        if (!ready) ++too_early;
        return;
      }
    });
    expect(adopters == 1);
    expect(too_early == 0);
    expect(guard.generation() == 1);
  });
  CHECK(end.fine());
}
