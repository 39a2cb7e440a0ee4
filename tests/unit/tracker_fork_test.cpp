// Would break: a forked child that hangs, counts for its parent, or samples as its siblings do.
#include <set>

#include "preload/tracker.hpp"
#include "preload/tracker_stacks.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/stages.hpp"
#include "tests/support/threads.hpp"
#include "tests/support/traced.hpp"

using namespace memtrace;
using test::expect;
using test::live_records;
using test::lost;
using test::sampled_options;
using test::traced;

TEST_CASE("a child counts on from its parent's tables; its parent never hears of it") {
  CHECK(traced([] {
    void* block = memtrace_hook_malloc(10);
    expect(test::in_child([&] {
             memtrace_hook_free(block);
             expect(live_records() == 0);
             (void)memtrace_hook_malloc(20);
             expect(live_records() == 1);
             expect(g_counters.forks_seen == 1);
             expect(g_tracker.forks.generation() == 1);
           }).fine());
    expect(live_records() == 1);
    expect(g_counters.forks_seen == 0);
  }));
}

TEST_CASE("children that are not to be followed are left alone") {
  Options options = test::exact_options("/tmp");
  options.children = false;
  CHECK(traced(
      [] {
        (void)memtrace_hook_malloc(10);
        expect(test::in_child([] {
                 (void)memtrace_hook_malloc(20);
                 expect(!tracker::active());
                 expect(live_records() == 1);
               }).fine());
      },
      options));
}

// The heaps of the sanitizers have locks that such a child inherits: it waits for ever in them.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

TEST_CASE("a child forked while eight threads allocate goes on, and has whole tables") {
  CHECK(traced([] {
    std::atomic<bool> done{false};
    std::atomic<int> failed{0};
    test::run_threads(9, [&](unsigned thread) {
      if (thread == 8) {
        for (int i = 0; i < 100; ++i) {
          const pid_t child = fork();
          if (child == 0) {
            alarm(20);
            void* mine[50];
            for (void*& block : mine) block = memtrace_hook_malloc(50);
            const std::uint64_t with = live_records();
            for (void* block : mine) memtrace_hook_free(block);
            expect(live_records() == with - 50);
            expect(g_counters.lost_lock == 0);
            _exit(0);
          }
          int status = -1;
          waitpid(child, &status, 0);
          failed += status != 0;
        }
        done = true;
        return;
      }
      void* held[64] = {};
      for (std::uint64_t i = 0; !done; ++i) {
        memtrace_hook_free(held[i % 64]);
        held[i % 64] = memtrace_hook_malloc(i % 1000);
      }
    });
    expect(failed == 0);
  }));
}
#endif

TEST_CASE("siblings do not sample alike, unless a seed is fixed") {
  const auto states = [](bool fixed) {
    std::set<std::uint64_t> of_old_thread;
    std::set<std::uint64_t> of_new_thread;
    expect(traced(
        [&] {
          g_tracker.fixed_seed = fixed;
          void* first = memtrace_hook_malloc(100'000);
          memtrace_hook_free(first);
          int results[2];
          expect(pipe(results) == 0);
          for (int i = 0; i < 5; ++i) {
            expect(test::in_child([&] {
                     std::uint64_t drawn[2];
                     (void)memtrace_hook_malloc(100'000);  // certainly a sample: draws the next countdown
                     drawn[0] = t_state.random;
                     test::run_threads(1, [&](unsigned) {
                       (void)memtrace_hook_malloc(100'000);
                       drawn[1] = t_state.random;
                     });
                     expect(write(results[1], drawn, sizeof drawn) == sizeof drawn);
                   }).fine());
            std::uint64_t drawn[2];
            expect(read(results[0], drawn, sizeof drawn) == sizeof drawn);
            of_old_thread.insert(drawn[0]);
            of_new_thread.insert(drawn[1]);
          }
          expect(of_old_thread.size() == (fixed ? 1 : 5));
          expect(of_new_thread.size() == (fixed ? 1 : 5));
        },
        sampled_options(1000)));
    return true;
  };
  CHECK(states(false));
  CHECK(states(true));
}

TEST_CASE("what happens while another thread sets a forked child up is counted as lost") {
  CHECK(traced([] {
    void* block = memtrace_hook_malloc(10);
    expect(test::in_child([&] {
             expect(g_tracker.forks.check() == ForkGuard::State::kNewChild);
             void* lost = memtrace_hook_malloc(10);
             expect(g_counters.lost_lock == 1);
             expect(memtrace_hook_mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
                    MAP_FAILED);
             expect(g_counters.lost_lock == 2);
             memtrace_hook_free(block);
             expect(g_counters.lost_lock == 3);
             g_tracker.forks.adopted();
             memtrace_hook_free(lost);
             expect(tracker::samples_recorded() == 1);
           }).fine());
  }));
}
