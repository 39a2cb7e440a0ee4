// Would break: P3. A guard that does not hold recurses into the tracker; one that stays set after a jump
// blinds the thread for good.
#include "preload/in_hook.hpp"

#include <csetjmp>

#include "tests/support/catch.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;

namespace {

[[gnu::noinline]] bool deeper() {
  const InHook nested;
  return nested.entered();
}

std::jmp_buf g_back;
[[gnu::noinline]] void jump_out() {
  volatile char deep[256] = {};
  const InHook hook;
  (void)deep[0];
  if (hook.entered()) std::longjmp(g_back, 1);
}

}  // namespace

TEST_CASE("only the outermost hook is entered") {
  t_state = ThreadState{};
  {
    const InHook hook;
    CHECK(hook.entered());
    CHECK_FALSE(deeper());
    CHECK_FALSE(deeper());  // the nested one has not unlocked it
  }
  CHECK(t_state.guard_sp == 0);
  CHECK(deeper());
  CHECK(t_state.guard_sp == 0);
}

TEST_CASE("a thread that jumped out of a hook is not blind afterwards") {
  t_state = ThreadState{};
  if (setjmp(g_back) == 0) jump_out();
  CHECK(t_state.guard_sp != 0);  // the destructor did not run
  const InHook later;
  CHECK(later.entered());
}

TEST_CASE("guards of two threads are two") {
  t_state = ThreadState{};
  const InHook hook;
  bool entered = false;
  test::run_threads(1, [&](unsigned) { entered = deeper(); });
  CHECK(entered);
}

TEST_CASE("inner calls of a real function cost no countdown") {
  t_state = ThreadState{};
  t_state.countdown = 1000;
  {
    const NestedCalls nested;
    t_state.countdown -= 400;  // what an inner malloc subtracts
    CHECK_FALSE(deeper());
  }
  CHECK(t_state.countdown == 1000);
  CHECK(t_state.guard_sp == 0);
}
