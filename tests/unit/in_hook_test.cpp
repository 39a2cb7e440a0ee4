// Would break: P3. A guard that does not hold recurses into the tracker; one that stays set after a jump
// blinds the thread for good.
#include "preload/in_hook.hpp"

#include <signal.h>
#include <ucontext.h>

#include <csetjmp>
#include <csignal>

#include "tests/support/catch.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;

namespace {

[[gnu::noinline]] bool deeper() {
  const InHook nested;
  return nested.entered();
}

// Two stacks of our own, in an order that we choose: the guard's below, the handler's above it.
constexpr std::size_t kStack = 64 * 1024;
alignas(16) char g_stacks[2 * kStack];
bool g_handler_entered = false;
void enter_in_handler(int) { g_handler_entered = deeper(); }

bool on_lower_stack(void (*body)()) {
  ucontext_t here;
  ucontext_t there;
  getcontext(&there);
  there.uc_stack.ss_sp = g_stacks;
  there.uc_stack.ss_size = kStack;
  there.uc_link = &here;
  makecontext(&there, body, 0);
  return swapcontext(&here, &there) == 0;
}

void be_interrupted_in_a_hook() {
  const InHook hook;
  std::raise(SIGUSR1);
  CHECK_FALSE(g_handler_entered);
  CHECK_FALSE(deeper());  // the handler has not unlocked it
}

void be_interrupted_outside() {
  std::raise(SIGUSR1);
  CHECK(g_handler_entered);
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

TEST_CASE("a handler on an alternate stack above the hook's does not take its guard over") {
  t_state = ThreadState{};
  const stack_t alternative{.ss_sp = g_stacks + kStack, .ss_flags = 0, .ss_size = kStack};
  stack_t before{};
  REQUIRE(sigaltstack(&alternative, &before) == 0);
  struct sigaction action {};
  struct sigaction old {};
  action.sa_handler = enter_in_handler;
  action.sa_flags = SA_ONSTACK;
  REQUIRE(sigaction(SIGUSR1, &action, &old) == 0);
  CHECK(on_lower_stack(be_interrupted_in_a_hook));
  CHECK(t_state.guard_sp == 0);
  CHECK(on_lower_stack(be_interrupted_outside));
  sigaction(SIGUSR1, &old, nullptr);
  sigaltstack(&before, nullptr);
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
