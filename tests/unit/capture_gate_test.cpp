// Would break: a forked child waits for ever for a loader's lock that a vanished capture held.
#include "preload/capture_gate.hpp"

#include "preload/sys/syscalls.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/child.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;
using test::expect;

namespace {

CaptureGate g_gate;

// In a process of its own: handlers of fork stay for good.
template <class F>
bool gated(F body) {
  return test::in_child([&] {
           alarm(60);
           g_gate.start();
           body();
         })
      .fine();
}

bool child_is_unsafe() {
  const pid_t child = fork();
  if (child == 0) _exit(g_gate.reset_after_fork() ? 1 : 0);
  int status = -1;
  waitpid(child, &status, 0);
  expect(WIFEXITED(status));
  return WEXITSTATUS(status) == 1;
}

}  // namespace

TEST_CASE("a child forked in the middle of a capture is told, a capture that was slow or not") {
  CHECK(gated([] {
    expect(!child_is_unsafe());
    for (int i = 0; i < 3; ++i) {
      CaptureBuffers::Buffer* slow = g_gate.enter(7);
      expect(child_is_unsafe());
      g_gate.leave(slow);
      expect(!child_is_unsafe());
    }
  }));
}

TEST_CASE("a buffer that a cancelled thread took along is waited for once, and hides no other") {
  CHECK(gated([] {
    (void)g_gate.enter(7);
    expect(child_is_unsafe());
    const std::int64_t before = sys::clock_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < 20; ++i) expect(!child_is_unsafe());
    expect(sys::clock_ns(CLOCK_MONOTONIC) - before < 20 * 50'000'000);
    CaptureBuffers::Buffer* other = g_gate.enter(7);
    expect(child_is_unsafe());
    g_gate.leave(other);
  }));
}

TEST_CASE("captures that begin while a fork waits for a slow one are not taken for abandoned") {
  CHECK(gated([] {
    CaptureBuffers::Buffer* slow = g_gate.enter(0);
    std::atomic<bool> done{false};
    test::run_threads(5, [&](unsigned thread) {
      if (thread == 4) {
        for (int i = 0; i < 4; ++i) (void)child_is_unsafe();
        done = true;
        return;
      }
      while (!done) {
        if (CaptureBuffers::Buffer* buffer = g_gate.enter(thread)) g_gate.leave(buffer);
      }
    });
    g_gate.leave(slow);
    CaptureBuffers::Buffer* next[CaptureBuffers::kBuffers];
    for (CaptureBuffers::Buffer*& buffer : next) {
      buffer = g_gate.enter(0);
      expect(buffer != nullptr);
    }
    expect(child_is_unsafe());
    // Each alone is waited for.
    for (CaptureBuffers::Buffer* buffer : next) g_gate.leave(buffer);
    expect(!child_is_unsafe());
    for (std::uint32_t i = 0; i < CaptureBuffers::kBuffers; i += 16) {
      CaptureBuffers::Buffer* one = g_gate.enter(i);
      expect(child_is_unsafe());
      g_gate.leave(one);
    }
  }));
}
