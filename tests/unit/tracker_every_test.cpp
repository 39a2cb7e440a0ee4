// Would break: the short way of mode all, taken when something that it takes for granted has changed, or
// never.
#include "preload/tracker_stacks.hpp"

#include <csetjmp>

#include "tests/support/catch.hpp"
#include "tests/support/stages.hpp"
#include "tests/support/traced.hpp"

using namespace memtrace;
using test::expect;
using test::live_records;
using test::traced;

namespace {

[[gnu::noinline]] void* allocate() {
  void* block = memtrace_hook_malloc(100);
  asm volatile("" : "+r"(block));
  return block;
}

// From one place, so that the walk is remembered after the first.
void warm_up() {
  for (int i = 0; i < 3; ++i) memtrace_hook_free(allocate());
}

}  // namespace

TEST_CASE("who is ready records and erases shortly, each one time") {
  CHECK(traced([] {
    void* first = allocate();
    expect(tracker::erased_shortly(first));  // whoever has recorded one is ready
    expect(!tracker::erased_shortly(first));
    for (std::uint64_t i = 1; i <= 10; ++i) {
      (void)allocate();
      expect(live_records() == i);
      expect(tracker::samples_recorded() == i + 1);
    }
    expect(t_state.countdown == 0);
    expect(t_state.guard_sp == 0);
    expect(test::lost() == 0);
  }));
}

TEST_CASE("a thread that is inside a hook, or has recorded nothing yet, takes the long way") {
  CHECK(traced([] {
    expect(!tracker::erased_shortly(&t_state));
    void* block = allocate();
    warm_up();
    const Caller caller{__builtin_frame_address(0), nullptr};
    {
      const InHook hook;
      expect(!tracker::recorded_shortly(&t_state, 8, caller));
    }
    expect(live_records() == 1);
    expect(tracker::erased_shortly(block));
  }));
}

TEST_CASE("a pause, the end of tracing and a fork end the short way at once") {
  CHECK(traced([] {
    warm_up();
    void* block = allocate();
    tracker::pause(true);
    expect(!tracker::erased_shortly(block));
    memtrace_hook_free(allocate());  // not recorded, and looked for in vain
    expect(live_records() == 1);
    tracker::pause(false);
    expect(!tracker::erased_shortly(block));
    warm_up();
    expect(live_records() == 1);
    expect(test::in_child([&] {
             expect(!tracker::erased_shortly(block));
             warm_up();
             expect(g_counters.forks_seen == 1);
             expect(tracker::erased_shortly(block));
             expect(live_records() == 0);
           }).fine());
    expect(live_records() == 1);
    expect(g_counters.forks_seen == 0);
    tracker::disarm();
    expect(!tracker::erased_shortly(block));
    (void)allocate();
    expect(live_records() == 1);
  }));
}

TEST_CASE("a countdown that was jumped out of, or stepped by a handler, does not silence its thread") {
  for (const bool all : {true, false}) {
    CHECK(traced(
        [] {
          warm_up();
          for (const std::uint64_t left : {std::uint64_t{0}, std::uint64_t{50}}) {
            t_state.countdown = left;
            const std::uint64_t before = tracker::samples_recorded();
            expect(Sampler::step(100));   // malloc has stepped,
            expect(!Sampler::step(200));  // a handler allocates,
            Sampler::unstep(100);         // and malloc goes on
            memtrace_hook_free(allocate());
            expect(tracker::samples_recorded() == before + 1);
          }
        },
        all ? test::exact_options("/tmp") : test::sampled_options(1'000'000)));
  }
}

TEST_CASE("a jump out of the short way does not silence its thread") {
  CHECK(traced([] {
    warm_up();
    t_state.slab->stack_high = 0;  // no walk is remembered from here on: the unwinder is asked
    static std::jmp_buf out;
    static bool jump;
    jump = true;
    g_tracker.unwinder.capture = [](Caller caller, ReturnAddress* frames, std::size_t) {
      if (jump) std::longjmp(out, 1);
      frames[0] = caller.return_address();
      return Captured{1, 1};
    };
    if (setjmp(out) == 0) {
      (void)allocate();
      expect(false);
    }
    expect(t_state.guard_sp != 0);
    jump = false;
    const std::uint64_t before = tracker::samples_recorded();
    (void)allocate();
    expect(tracker::samples_recorded() == before + 1);
    expect(g_counters.nested_calls == 0);
    expect(t_state.guard_sp == 0);
  }));
}

TEST_CASE("no step is left taken while a block is recorded: what a handler allocates then is tried") {
  CHECK(traced([] {
    warm_up();
    t_state.slab->stack_high = 0;  // as above
    static int asked;
    g_tracker.unwinder.capture = [](Caller caller, ReturnAddress* frames, std::size_t) {
      expect(t_state.countdown == 0);
      ++asked;
      frames[0] = caller.return_address();
      return Captured{1, 1};
    };
    void* block = nullptr;
    expect(memtrace_hook_posix_memalign(&block, 64, 100) == 0);
    (void)memtrace_hook_aligned_alloc(64, 128);
    (void)memtrace_hook_memalign(64, 100);
    (void)memtrace_hook_calloc(1, 100);
    (void)memtrace_hook_realloc(block, 200);
    expect(asked == 5);
  }));
}

TEST_CASE("a grandchild whose parent was set up by its last allocation is set up as well") {
  CHECK(traced([] {
    void* block = allocate();
    expect(test::in_child([&] {
             (void)allocate();
             expect(g_counters.forks_seen == 1);
             expect(test::in_child([&] {
                      expect(!tracker::erased_shortly(block));
                      (void)allocate();
                      expect(g_counters.forks_seen == 2);
                    }).fine());
           }).fine());
  }));
}

TEST_CASE("a changed number is nobody's, and none is kept from before") {
  std::atomic<std::uint64_t> wiped{0};
  ReadyEpoch epoch;
  epoch.start(&wiped);
  const std::uint64_t first = epoch.current();
  CHECK(first != 0);
  CHECK(first != ReadyEpoch::kNever);
  wiped = 0;  // as in a child
  CHECK(epoch.current() == 0);
  epoch.changed();
  CHECK(epoch.current() != first);
  CHECK(epoch.current() != 0);
}
