// Would break: what no stage can break alone. Samples lost or counted twice between threads, forks and
// nested calls; a host that is recorded after it asked not to be.
#include "preload/tracker.hpp"

#include <cmath>
#include <set>

#include "preload/tracker_stacks.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/stages.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/threads.hpp"
#include "tests/support/traced.hpp"

using namespace memtrace;
using test::expect;
using test::live_records;
using test::lost;
using test::sampled_options;
using test::traced;

TEST_CASE("before start and after disarm the hooks only forward") {
  CHECK(test::in_child([] {
          real::resolve();
          void* early = memtrace_hook_malloc(10);
          test::start_stages(test::exact_options("/tmp"));
          void* block = memtrace_hook_malloc(20);
          expect(tracker::samples_recorded() == 1);  // and the first was no trial that the second pays for
          memtrace_hook_free(early);
          tracker::disarm();
          memtrace_hook_free(memtrace_hook_malloc(30));
          memtrace_hook_free(block);
          expect(tracker::samples_recorded() == 1);
          expect(live_records() == 1);
        }).fine());
}

TEST_CASE("bootstrap blocks never reach the real free, sampled, recorded or not traced at all") {
  for (const std::uint64_t interval : {std::uint64_t{1} << 19, std::uint64_t{1}, std::uint64_t{0}}) {
    CHECK(test::in_child([&] {
            t_state.resolving = 1;
            void* freed = memtrace_hook_malloc(33);
            void* resized = memtrace_hook_calloc(3, 5);
            t_state.resolving = 0;
            expect(real::is_bootstrap(freed) && real::is_bootstrap(resized));
            if (interval == 0) {
              real::resolve();
              tracker::disarm();
              int taken_for_one = 0;  // of other addresses; one in a hundred, wherever this program lies
              for (std::uintptr_t at = 1; at <= 1000; ++at) {
                taken_for_one += tracker::may_be_live(reinterpret_cast<const void*>(at << 16));
              }
              expect(taken_for_one < 200);
            } else {
              test::start_stages(interval == 1 ? test::exact_options("/tmp") : sampled_options(interval));
            }
            for (int i = 0; i < 3; ++i) memtrace_hook_free(freed);
            memtrace_hook_cfree(freed);
            void* moved = memtrace_hook_realloc(resized, 100);
            expect(moved && !real::is_bootstrap(moved));
            memtrace_hook_free(moved);
            expect(memtrace_hook_malloc_usable_size(freed) == 33);
          }).fine());
  }
}

TEST_CASE("sizes that no allocator has fail, and leave the sampler as it was") {
  for (const std::uint64_t interval : {std::uint64_t{1}, std::uint64_t{64}}) {
    CHECK(test::in_child([&] {
            test::start_stages(interval == 1 ? test::exact_options("/tmp") : sampled_options(interval));
            const volatile std::size_t sizes[] = {SIZE_MAX, SIZE_MAX / 2 + 2, SIZE_MAX / 2};
            for (int i = 0; i < 300; ++i) {
              const std::size_t size = sizes[i % 3];
              expect(memtrace_hook_malloc(size) == nullptr);
              expect(memtrace_hook_calloc(size, 1) == nullptr);
              expect(memtrace_hook_realloc(nullptr, size) == nullptr);
            }
            expect(tracker::samples_recorded() == 0);
            for (int i = 0; i < 300; ++i) (void)memtrace_hook_malloc(100'000);  // each one certainly a sample
            expect(tracker::samples_recorded() == 300);
          }).fine());
  }
}

TEST_CASE("paused: nothing new is recorded, frees are") {
  CHECK(traced([] {
    void* before = memtrace_hook_malloc(10);
    tracker::pause(true);
    void* meanwhile = memtrace_hook_malloc(10);
    memtrace_hook_free(before);
    expect(live_records() == 0);
    tracker::pause(false);
    void* after = memtrace_hook_malloc(10);
    expect(live_records() == 1);
    memtrace_hook_free(after);
    memtrace_hook_free(meanwhile);
    expect(live_records() == 0);
  }));
}

TEST_CASE("eight threads hand blocks around: the live set is exact when they rest") {
  CHECK(traced([] {
    constexpr std::size_t kSlots = 256;
    std::atomic<void*> slots[kSlots]{};
    test::run_threads(8, [&](unsigned thread) {
      std::uint64_t random = thread + 1;
      for (int i = 0; i < 20'000; ++i) {
        random = random * 6364136223846793005 + 1442695040888963407;
        void* block = random >> 60 == 0 ? nullptr : memtrace_hook_malloc((random >> 40) % 300);
        if (random >> 62 == 1) block = memtrace_hook_realloc(block, (random >> 30) % 500 + 1);
        memtrace_hook_free(slots[(random >> 20) % kSlots].exchange(block));  // often another thread's
      }
    });
    std::uint64_t held = 0;
    for (std::atomic<void*>& slot : slots) held += slot != nullptr;
    expect(live_records() == held);
    expect(g_counters.replaced_records == 0);
    for (std::atomic<void*>& slot : slots) memtrace_hook_free(slot);
    expect(live_records() == 0);
    expect(lost() == 0);
    const Snapshot snapshot = test::take_and_read();
    std::uint64_t allocations = 0;
    for (const Stack& stack : snapshot.stacks) {
      expect(stack.allocated_count == stack.freed_count);
      expect(stack.allocated_bytes == stack.freed_bytes);
      allocations += stack.allocated_count;
    }
    expect(allocations == tracker::samples_recorded());
  }));
}

TEST_CASE("sampled through the hooks: estimates are the truth, within their deviation") {
  constexpr std::uint64_t kInterval = 4096;
  CHECK(traced(
      [] {
        constexpr double kThreads = 4;
        constexpr double kEach = 50'000;
        test::run_threads(kThreads, [&](unsigned) {
          for (double i = 0; i < kEach; ++i) {
            memtrace_hook_free(memtrace_hook_malloc(64));
            memtrace_hook_free(memtrace_hook_calloc(2, 500));
          }
        });
        double count = 0;
        double bytes = 0;
        for (std::uint32_t id = 1; id <= g_tracker.stacks.size(); ++id) {
          const StackEntry& stack = *g_tracker.stacks.find(StackId{id});
          count += std::ldexp(static_cast<double>(stack.allocated_count), -Weight::kCountBits);
          bytes += std::ldexp(static_cast<double>(stack.allocated_bytes), -Weight::kBytesBits);
        }
        const double n = kThreads * kEach;
        double count_variance = 0;
        double bytes_variance = 0;
        for (const double size : {64.0, 1000.0}) {
          const double p = -std::expm1(-size / kInterval);
          count_variance += n * (1 - p) / p;
          bytes_variance += n * size * size * (1 - p) / p;
        }
        expect(std::abs(count - 2 * n) < 4 * std::sqrt(count_variance));
        expect(std::abs(bytes - 1064 * n) < 4 * std::sqrt(bytes_variance));
        expect(lost() == 0);
        expect(live_records() == 0);
      },
      sampled_options(kInterval)));
}

TEST_CASE("stacks longer than the limit are cut and say so") {
  Options options = test::exact_options("/tmp");
  options.max_frames = 1;
  CHECK(traced(
      [] {
        g_tracker.unwinder.capture = [](Caller caller, ReturnAddress* frames, std::size_t room) {
          for (std::size_t i = 0; i < room; ++i) frames[i] = caller.return_address();
          return Captured{static_cast<std::uint32_t>(room), 1};
        };
        (void)memtrace_hook_malloc(10);
        expect(g_counters.truncated_stacks == 1);
        expect(g_tracker.stacks.find(StackId{1})->frame_count == 1);
        expect(g_tracker.stacks.find(StackId{1})->truncated == 1);
      },
      options));
}

TEST_CASE("an unwinder that fails leaves the caller's address; one that allocates costs nothing") {
  CHECK(traced([] {
    g_tracker.unwinder.capture = [](Caller, ReturnAddress*, std::size_t) {
      memtrace_hook_free(memtrace_hook_malloc(1'000'000));
      return Captured{};
    };
    void* block = memtrace_hook_malloc(10);
    expect(g_counters.failed_unwinds == 1);
    expect(tracker::samples_recorded() == 1);
    expect(g_counters.nested_calls == 1);
    expect(g_tracker.stacks.find(StackId{1})->frame_count == 1);
    memtrace_hook_free(block);
    expect(live_records() == 0);
  }));
}

TEST_CASE("frame pointers may name anything: only the caller's own object is read") {
  Options options = test::exact_options("/tmp");
  options.unwind = UnwindChoice::kFramePointer;
  CHECK(traced(
      [] {
        // Two words that look like a frame, whose caller is in libc.
        const std::uintptr_t frames[2] = {0, reinterpret_cast<std::uintptr_t>(&getpid) + 1};
        const auto here = reinterpret_cast<std::uintptr_t>(&live_records);
        char block[16] = {};
        t_state.countdown = UINT64_MAX;
        const std::uintptr_t called_from[] = {here + 1, 0};
        tracker::allocated_slowly(block, sizeof block, {&called_from[1], frames});
        expect(g_tracker.stacks.find(StackId{1})->frame_count == 2);
        expect(g_tracker.module_notes.size() == 1);
        expect(g_tracker.module_notes[0]->map_start <= here && here < g_tracker.module_notes[0]->map_end);
      },
      options));
}

TEST_CASE("what no table had room for was not allocated, as far as the sums know") {
  CHECK(traced([] {
    const auto all_allocated = [] {
      std::uint64_t count = 0;
      for (std::uint32_t id = 1; id <= g_tracker.stacks.size(); ++id) {
        count += g_tracker.stacks.find(StackId{id})->allocated_count >> Weight::kCountBits;
      }
      tracker::for_each_pending(
          [&](StackId, const Weight& weight) { count += weight.count >> Weight::kCountBits; });
      return count;
    };
    constexpr std::uint64_t kBlocks = 40'000;  // every shard's first array has twenty slots
    for (std::uint64_t i = 0; i < kBlocks; ++i) {
      (void)memtrace_hook_malloc(100);
      if (i == 0) g_tracker.arena.start(0);  // the tables are full from here on
    }
    expect(g_counters.lost_table_full > 0);
    expect(tracker::samples_recorded() + g_counters.lost_table_full == kBlocks);
    expect(tracker::samples_recorded() == live_records());
    expect(all_allocated() == tracker::samples_recorded());
    const std::uint64_t before = tracker::samples_recorded();
    expect(memtrace_hook_mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    expect(g_counters.lost_maps == 1);
    expect(tracker::samples_recorded() == before);
    expect(all_allocated() == before);
  }));
}

TEST_CASE("mappings made and gone inside a hook are counted") {
  CHECK(traced([] {
    void* known = memtrace_hook_mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    {
      const InHook hook;
      [&]() __attribute__((noinline)) {
        expect(memtrace_hook_mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
               MAP_FAILED);
        expect(g_counters.nested_calls == 1);
        expect(memtrace_hook_munmap(known, 4096) == 0);
        expect(g_counters.nested_calls == 2);
      }
      ();
    }
    expect(tracker::samples_recorded() == 1);
  }));
}
