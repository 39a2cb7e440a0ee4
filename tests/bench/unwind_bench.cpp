// What one walk costs: the compiled unwinder beside libunwind and Boost, on stacks of 10, 27 and 60 frames.
//
//   unwind_bench                 ns of CPU time per walk, best and median of interleaved rounds; warm, and
//   cold:
//                                right after a refresh, with the faults on the emptied tables
//   unwind_bench FRAMES WALKS    the compiled unwinder alone, warm: for callgrind
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "preload/thread_state.hpp"
#include "preload/unwind/boost_backtrace.hpp"
#include "tests/support/with_caller.hpp"

namespace memtrace {

constinit thread_local ThreadState t_state [[gnu::tls_model("initial-exec")]];

namespace {

constexpr std::size_t kRoom = 128;

Captured capture_by_boost(Caller, ReturnAddress* frames, std::size_t room) {
  return {static_cast<std::uint32_t>(memtrace_boost_backtrace(reinterpret_cast<const void**>(frames), room)),
          0};
}

std::uint64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

struct Work {
  CaptureFunction capture;
  std::size_t walks;
  bool cold;
  std::uint64_t ns = 0;
  std::uint32_t frames = 0;
};

void measure(const Caller* caller, void* argument) {
  auto& work = *static_cast<Work*>(argument);
  ReturnAddress frames[kRoom];
  for (std::size_t i = 0; i < work.walks; ++i) {
    if (work.cold) refresh_unwinder();
    const std::uint64_t begin = work.cold || i == 0 ? now_ns() : 0;
    if (!work.cold && i == 0) work.ns -= begin;
    work.frames = work.capture(*caller, frames, kRoom).frames;
    if (work.cold) work.ns += now_ns() - begin;
  }
  if (!work.cold) work.ns += now_ns();
}

// Functions of different frames, each of which calls the next: as many rules as frames.
template <int kDepth>
[[gnu::noipa]] void descend(int depth, Work& work) {
  volatile char bytes[static_cast<std::size_t>(8 + kDepth * 40 % 200)];
  bytes[0] = static_cast<char>(depth);
  if (depth <= 0) {
    test::memtrace_test_with_caller(measure, &work);
  } else if constexpr (kDepth > 0) {
    descend<kDepth - 1>(depth - 1, work);
  }
  bytes[1] = bytes[0];
}

// On a stack of so many frames as ours counts them.
void run(int frames, Work& work) {
  Work probe{capture_by_cfi, 1, false};
  descend<64>(0, probe);
  descend<64>(frames - static_cast<int>(probe.frames), work);
}

void print(std::vector<double>& values) {
  std::sort(values.begin(), values.end());
  std::printf(" %10.1f %10.1f", values.front(), values[values.size() / 2]);
}

int compare_all() {
  struct {
    const char* name;
    CaptureFunction capture;
    std::size_t walks;
  } const unwinders[] = {{"compiled", capture_by_cfi, 5'000},
                         {"libunwind", open_libunwind(), 1'000},
                         {"boost", capture_by_boost, 100}};
  std::printf("%-10s %6s %10s %10s %10s %10s\n", "", "frames", "warm best", "median", "cold best", "median");
  for (const int frames : {10, 27, 60}) {
    std::vector<double> warm[3];
    std::vector<double> cold;
    std::uint32_t seen = 0;
    for (int round = 0; round < 31; ++round) {
      for (std::size_t i = 0; i < 3; ++i) {
        if (!unwinders[i].capture) continue;
        Work work{unwinders[i].capture, unwinders[i].walks, false};
        run(frames, work);
        warm[i].push_back(static_cast<double>(work.ns) / static_cast<double>(work.walks));
        if (i == 0) seen = work.frames;
      }
      Work work{capture_by_cfi, 20, true};
      run(frames, work);
      cold.push_back(static_cast<double>(work.ns) / static_cast<double>(work.walks));
    }
    for (std::size_t i = 0; i < 3; ++i) {
      if (warm[i].empty()) continue;
      std::printf("%-10s %6u", unwinders[i].name, seen);
      print(warm[i]);
      if (i == 0) print(cold);
      std::printf("\n");
    }
  }
  return 0;
}

}  // namespace
}  // namespace memtrace

int main(int argc, char** argv) {
  using namespace memtrace;
  PageArena arena;
  arena.start(64 << 20);
  if (!start_cfi(arena)) return 1;
  if (argc == 3) {
    Work work{capture_by_cfi, std::strtoull(argv[2], nullptr, 10), false};
    run(std::atoi(argv[1]), work);
    std::printf("%u frames\n", work.frames);
    return 0;
  }
  if (argc != 1) {
    std::fprintf(stderr, "usage: unwind_bench [FRAMES WALKS]\n");
    return 2;
  }
  return compare_all();
}
