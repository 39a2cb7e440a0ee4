// Would break: P1. A stage that calls malloc while it records a malloc recurses, or waits for a lock that the
// host's allocator holds.
//
// The heap of this program is replaced and its calls are counted. The hooks call the real functions, which
// are the libc's: those do not count. Sanitizers bring their own heap: their builds leave this file empty.
#include "tests/support/catch.hpp"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#include <sys/mman.h>

#include "preload/snapshot_thread.hpp"
#include "tests/support/counted_heap.hpp"
#include "tests/support/stages.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;
using test::expect;

namespace {

// Distinct stacks, as many as there are paths through here.
[[gnu::noipa]] void* allocate(std::uint64_t path, int depth) {
  void* block = nullptr;
  if (depth == 0) {
    block = memtrace_hook_malloc(24);
  } else if (path & 1) {
    block = allocate(path >> 1, depth - 1);
  } else {
    block = allocate(path >> 1, depth - 1);
  }
  asm volatile("" ::"r"(block));
  return block;
}

void use_every_hook() {
  for (std::uint64_t i = 0; i < 1'000; ++i) {
    memtrace_hook_free(memtrace_hook_realloc(memtrace_hook_calloc(3, 5), 100 + i));
    memtrace_hook_free(memtrace_hook_memalign(64, i));
    auto* pages = static_cast<char*>(
        memtrace_hook_mmap(nullptr, 3 << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    memtrace_hook_munmap(pages + (1 << 12), 1 << 12);
    if (i % 4 == 0) memtrace_hook_munmap(pages, 3 << 12);
  }
}

// Everything that the shim does after its start. Returns the calls on this thread and the snapshot thread,
// those on a thread of its own, and those in a forked child.
struct Calls {
  int first_thread;
  int new_thread;
  int child;
};

Calls run(UnwindChoice unwind, const std::string& name) {
  const test::TempDir directory;
  int results[2];
  REQUIRE(pipe(results) == 0);
  const test::ChildEnd end = test::in_child([&] {
    Options options = test::exact_options(directory.path().native());
    options.unwind = unwind;
    test::start_stages(options);
    expect(g_snapshot_thread.start());
    if (name != g_tracker.unwinder.name) _exit(2);
    static void* held[50'000];
    static constinit Path path;
    Calls calls{};
    {
      const test::CountCalls count;
      for (std::uint64_t i = 0; i < std::size(held); ++i) held[i] = allocate(i, 10);
      use_every_hook();
      expect(g_snapshot_thread.take_and_wait({TriggerReason::kApi, {}}, path) == 0);
      for (void* block : held) memtrace_hook_free(block);
      calls.first_thread = test::heap_calls();
    }
    test::run_threads(1, [&](unsigned) {
      const test::CountCalls count;
      use_every_hook();
      calls.new_thread = test::heap_calls();
    });
    expect(test::in_child([&] {
             {
               const test::CountCalls count;
               use_every_hook();
               expect(g_snapshot_thread.take_and_wait({TriggerReason::kApi, {}}, path) == 0);
               calls.child = test::heap_calls();
             }
             expect(write(results[1], &calls, sizeof calls) == sizeof calls);
           }).fine());
    expect(g_tracker.stacks.size() > 3);
    expect(g_counters.failed_unwinds == 0);
  });
  Calls calls{-1, -1, -1};
  close(results[1]);
  if (end.fine()) CHECK(read(results[0], &calls, sizeof calls) == sizeof calls);
  close(results[0]);
  if (WIFEXITED(end.status) && WEXITSTATUS(end.status) == 2) {
    WARN("this machine has no " << name);
    return {};
  }
  CHECK(end.fine());
  return calls;
}

}  // namespace

TEST_CASE("the count sees a call") {
  {
    const test::CountCalls count;
    void* volatile block = std::malloc(16);
    std::free(block);
  }
  CHECK(test::heap_calls() == 2);
}

TEST_CASE("frame pointers: capture, intern, insert, snapshot and fork never touch the heap") {
  const Calls calls = run(UnwindChoice::kFramePointer, "fp");
  CHECK(calls.first_thread == 0);
  CHECK(calls.new_thread == 0);
  CHECK(calls.child == 0);
}

TEST_CASE("cfi: the same") {
  const Calls calls = run(UnwindChoice::kCfi, "cfi");
  CHECK(calls.first_thread == 0);
  CHECK(calls.new_thread == 0);
  CHECK(calls.child == 0);
}

TEST_CASE("libunwind: the same, but for one call at a thread's first capture") {
  const Calls calls = run(UnwindChoice::kLibunwind, "libunwind");
  CHECK(calls.first_thread == 0);
  CHECK(calls.new_thread <= 1);  // the loader's, for the library's thread-local block
  CHECK(calls.child == 0);
}

#endif
