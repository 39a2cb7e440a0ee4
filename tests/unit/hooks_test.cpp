// Would break: a program sees another result than the real function's, or the live set is not what the
// program holds.
#include <malloc.h>
#include <sys/mman.h>

#include <cerrno>
#include <csetjmp>
#include <cstring>
#include <map>
#include <random>

#include "preload/tracker_stacks.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/stages.hpp"
#include "tests/support/temp_dir.hpp"

using namespace memtrace;
using test::expect;
using test::has_record;
using test::record_at;

namespace {

// A child with every stage started, in mode all.
template <class F>
bool traced(F body) {
  const test::TempDir directory;
  return test::in_child([&] {
           test::start_stages(test::exact_options(directory.path().native()));
           body();
         })
      .fine();
}

// Sizes too large for any machine, hidden from the compiler's warnings.
std::size_t huge() {
  volatile std::size_t size = PTRDIFF_MAX;
  return size;
}

}  // namespace

TEST_CASE("every allocation function records what was asked for, and free forgets it") {
  CHECK(traced([] {
    void* aligned = nullptr;
    expect(memtrace_hook_posix_memalign(&aligned, 256, 70) == 0);
    const std::map<void*, std::size_t> blocks = {{memtrace_hook_malloc(100), 100},
                                                 {memtrace_hook_malloc(0), 0},
                                                 {memtrace_hook_calloc(7, 9), 63},
                                                 {memtrace_hook_realloc(nullptr, 55), 55},
                                                 {memtrace_hook_aligned_alloc(64, 128), 128},
                                                 {memtrace_hook_memalign(512, 33), 33},
                                                 {memtrace_hook_valloc(44), 44},
                                                 {memtrace_hook_pvalloc(45), 45},
                                                 {memtrace_hook_reallocarray(nullptr, 5, 6), 30},
                                                 {aligned, 70}};
    expect(blocks.size() == 10);
    const Snapshot held = test::take_and_read();
    expect(held.records.size() == blocks.size());
    for (const auto& [block, size] : blocks) {
      const Record& record = record_at(held, block);
      expect(record.size_bytes == size);
      expect(record.kind == AllocKind::kHeap);
      expect(memtrace_hook_malloc_usable_size(block) >= size);
    }
    bool even = false;
    for (const auto& [block, size] : blocks) {
      (even = !even) ? memtrace_hook_free(block) : memtrace_hook_cfree(block);
    }
    memtrace_hook_free(nullptr);
    expect(test::take_and_read().records.empty());
    expect(tracker::samples_recorded() == 10);
    expect(g_counters.samples_freed == 10);  // as of the snapshot
  }));
}

TEST_CASE("realloc: moves, shrinks, frees by size 0, and keeps the old block when it fails") {
  CHECK(traced([] {
    auto* block = static_cast<char*>(memtrace_hook_malloc(100));
    std::memset(block, 7, 100);
    auto* grown = static_cast<char*>(memtrace_hook_realloc(block, 1 << 20));
    expect(grown[99] == 7);
    Snapshot held = test::take_and_read();
    expect(held.records.size() == 1);
    expect(record_at(held, grown).size_bytes == 1 << 20);
    const std::uint64_t number = record_at(held, grown).sample_number;

    errno = 0;
    expect(memtrace_hook_realloc(grown, huge()) == nullptr);
    expect(errno == ENOMEM);
    expect(memtrace_hook_reallocarray(grown, huge(), 16) == nullptr);
    held = test::take_and_read();
    expect(held.records.size() == 1);
    expect(record_at(held, grown).sample_number == number);  // the very same record

    auto* small = static_cast<char*>(memtrace_hook_reallocarray(grown, 4, 2));
    expect(small[7] == 7);
    expect(record_at(test::take_and_read(), small).size_bytes == 8);
    void* gone = memtrace_hook_realloc(small, 0);
    if (gone) memtrace_hook_free(gone);  // a runtime that hands out a block for it
    expect(test::take_and_read().records.empty());
  }));
}

TEST_CASE("realloc while stopped: the block stays the allocation that it was, at its new place and size") {
  CHECK(traced([] {
    void* block = memtrace_hook_malloc(100);
    const std::uint64_t number = record_at(test::take_and_read(), block).sample_number;
    tracker::pause(true);
    void* grown = memtrace_hook_realloc(block, 1 << 20);
    void* other = memtrace_hook_realloc(nullptr, 50);
    Snapshot held = test::take_and_read();
    expect(held.records.size() == 1);
    expect(record_at(held, grown).size_bytes == 1 << 20);
    expect(record_at(held, grown).sample_number == number);
    expect(memtrace_hook_realloc(grown, huge()) == nullptr);
    expect(test::take_and_read().records.size() == 1);
    tracker::pause(false);
    grown = memtrace_hook_realloc(grown, 300);
    held = test::take_and_read();
    expect(held.records.size() == 1);
    expect(record_at(held, grown).size_bytes == 300);
    expect(record_at(held, grown).sample_number != number);
    memtrace_hook_free(grown);
    memtrace_hook_free(other);
    held = test::take_and_read();
    expect(held.records.empty());
    for (const Stack& stack : held.stacks) {
      expect(stack.allocated_bytes == stack.freed_bytes && stack.allocated_count == stack.freed_count);
    }
  }));
}

TEST_CASE("failures record nothing and keep their errno") {
  CHECK(traced([] {
    errno = 0;
    expect(memtrace_hook_malloc(huge()) == nullptr);
    expect(errno == ENOMEM);
    expect(memtrace_hook_calloc(huge(), 4) == nullptr);
    void* out = nullptr;
    expect(memtrace_hook_posix_memalign(&out, 16, huge()) == ENOMEM);
    expect(test::take_and_read().records.empty());
  }));
}

TEST_CASE("errno survives recording and forgetting") {
  CHECK(traced([] {
    errno = E2BIG;
    void* block = memtrace_hook_malloc(10);
    expect(errno == E2BIG);
    memtrace_hook_free(block);
    expect(errno == E2BIG);
  }));
}

TEST_CASE("calls from within a hook are the hook's own") {
  CHECK(traced([] {
    void* inner = nullptr;
    {
      const InHook hook;
      [&]() __attribute__((noinline)) { inner = memtrace_hook_malloc(10); }
      ();
    }
    expect(g_counters.nested_calls == 1);
    expect(!has_record(test::take_and_read(), inner));
    memtrace_hook_free(inner);
  }));
}

TEST_CASE("mappings: kinds, cuts, overlays and moves") {
  CHECK(traced([] {
    constexpr std::size_t kPage = 4096;
    constexpr int kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS;
    constexpr int kReadWrite = PROT_READ | PROT_WRITE;
    auto* plain =
        static_cast<char*>(memtrace_hook_mmap(nullptr, 10 * kPage - 5, kReadWrite, kAnonymous, -1, 0));
    void* reserved = memtrace_hook_mmap64(nullptr, 64 * kPage, PROT_NONE, kAnonymous, -1, 0);
    void* shared = memtrace_hook_mmap(nullptr, kPage, kReadWrite, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const int fd = memfd_create("mapped", MFD_CLOEXEC);
    expect(ftruncate(fd, kPage) == 0);
    void* file = memtrace_hook_mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, fd, 0);
    Snapshot held = test::take_and_read();
    expect(held.records.size() == 4);
    expect(record_at(held, plain).kind == AllocKind::kMmap);
    expect(record_at(held, plain).size_bytes == 10 * kPage);
    expect(record_at(held, reserved).kind == AllocKind::kReserved);
    expect(record_at(held, shared).kind == AllocKind::kShared);
    expect(record_at(held, file).kind == AllocKind::kFile);

    expect(memtrace_hook_munmap(plain + 4 * kPage, 2 * kPage) == 0);
    expect(record_at(test::take_and_read(), plain).size_bytes == 8 * kPage);
    // Refused: not a page boundary. Nothing changes.
    expect(memtrace_hook_munmap(plain + 1, kPage) == -1);
    expect(errno == EINVAL);
    expect(record_at(test::take_and_read(), plain).size_bytes == 8 * kPage);

    // Commits a part of the reservation, as runtimes do.
    void* middle = static_cast<char*>(reserved) + 8 * kPage;
    expect(memtrace_hook_mmap(middle, 2 * kPage, kReadWrite, kAnonymous | MAP_FIXED, -1, 0) == middle);
    held = test::take_and_read();
    expect(record_at(held, reserved).size_bytes == 62 * kPage);
    expect(record_at(held, middle).kind == AllocKind::kMmap);
    // An overlay that fails leaves what was there.
    expect(memtrace_hook_mmap(middle, 2 * kPage, PROT_READ, MAP_PRIVATE | MAP_FIXED, 9999, 0) == MAP_FAILED);
    expect(record_at(test::take_and_read(), middle).size_bytes == 2 * kPage);

    void* moved = memtrace_hook_mremap(middle, 2 * kPage, 100 * kPage, MREMAP_MAYMOVE);
    expect(moved != MAP_FAILED && moved != middle);
    held = test::take_and_read();
    expect(!has_record(held, middle));
    expect(record_at(held, moved).size_bytes == 100 * kPage);
    expect(record_at(held, moved).kind == AllocKind::kMmap);
    // Refused: there is no room to grow in place. (The neighbour is mapped.)
    expect(memtrace_hook_mremap(plain, 4 * kPage, huge() / kPage * kPage, 0) == MAP_FAILED);
    expect(record_at(test::take_and_read(), plain).size_bytes == 8 * kPage);

    expect(memtrace_hook_munmap(plain, 10 * kPage) == 0);
    expect(memtrace_hook_munmap(reserved, 64 * kPage) == 0);
    expect(memtrace_hook_munmap(shared, kPage) == 0);
    expect(memtrace_hook_munmap(file, kPage) == 0);
    expect(memtrace_hook_munmap(moved, 100 * kPage) == 0);
    expect(test::take_and_read().records.empty());
    expect(g_counters.lost_maps == 0);
  }));
}

TEST_CASE("mremap while stopped: the mapping stays the allocation that it was, at its new place and size") {
  CHECK(traced([] {
    constexpr std::size_t kPage = 4096;
    const auto map_pages = [](std::size_t pages) {
      return static_cast<char*>(memtrace_hook_mmap(nullptr, pages * kPage, PROT_READ | PROT_WRITE,
                                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    };
    char* first = map_pages(10);
    char* target = map_pages(40);
    const std::uint64_t number = record_at(test::take_and_read(), first).sample_number;
    tracker::pause(true);
    // Onto a part of another: that part is gone, the whole of the first is there.
    char* moved = static_cast<char*>(
        memtrace_hook_mremap(first, 10 * kPage, 20 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, target));
    expect(moved == target);
    Snapshot held = test::take_and_read();
    expect(held.records.size() == 2);
    const auto mine = [&](const Snapshot& snapshot) -> const Record& {
      for (const Record& record : snapshot.records) {
        if (record.sample_number == number) return record;
      }
      expect(false);
      __builtin_unreachable();
    };
    expect(mine(held).size_bytes == 20 * kPage);
    expect(mine(held).address == reinterpret_cast<std::uint64_t>(moved));
    // Refused, doubled, unknown, made now: nothing of that is new.
    expect(memtrace_hook_mremap(moved, 20 * kPage, huge() / kPage * kPage, 0) == MAP_FAILED);
    char* twin = static_cast<char*>(
        memtrace_hook_mremap(moved, 20 * kPage, 20 * kPage, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, nullptr));
    expect(twin != MAP_FAILED);
    char* fresh = map_pages(3);
    expect(memtrace_hook_mremap(fresh, 3 * kPage, kPage, 0) == fresh);
    expect(memtrace_hook_mremap(moved, 20 * kPage, 5 * kPage, 0) == moved);
    held = test::take_and_read();
    expect(held.records.size() == 2);
    expect(mine(held).size_bytes == 5 * kPage);
    tracker::pause(false);
    expect(memtrace_hook_munmap(moved, 5 * kPage) == 0);
    expect(memtrace_hook_munmap(target, 40 * kPage) == 0);
    expect(memtrace_hook_munmap(twin, 20 * kPage) == 0);
    expect(memtrace_hook_munmap(fresh, kPage) == 0);
    held = test::take_and_read();
    expect(held.records.empty());
    expect(tracker::samples_recorded() == 2 && g_counters.lost_maps == 0);
    for (const Stack& stack : held.stacks) {
      expect(stack.allocated_bytes == stack.freed_bytes && stack.allocated_count == stack.freed_count);
    }
  }));
}

TEST_CASE("a place that was unmapped behind our back is counted once when it is mapped again") {
  CHECK(traced([] {
    constexpr std::size_t kPage = 4096;
    const auto map_at = [](void* where, std::size_t pages) {
      // A hint, not MAP_FIXED: the kernel gives it when it is free.
      return memtrace_hook_mmap(where, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                                0);
    };
    auto* first = static_cast<char*>(map_at(nullptr, 16));
    // By system calls that no hook sees: four pages become free, the others nobody's.
    const auto raw = [](void* where, std::size_t pages) {
      return sys::call(SYS_mmap, where, pages * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                       0);
    };
    expect(raw(first, 16) == reinterpret_cast<long>(first));
    sys::call(SYS_munmap, first + 4 * kPage, 4 * kPage);
    expect(map_at(first + 4 * kPage, 4) == first + 4 * kPage);
    const Snapshot held = test::take_and_read();
    expect(record_at(held, first + 4 * kPage).size_bytes == 4 * kPage);
    expect(record_at(held, first).size_bytes == 12 * kPage);  // the rest of the stale one, until it is reused
    expect(g_counters.replaced_records == 1);
    expect(memtrace_hook_munmap(first, 16 * kPage) == 0);
    expect(test::take_and_read().records.empty());
  }));
}

TEST_CASE("millions of random calls: the live set is what the program holds") {
  CHECK(traced([] {
    std::map<void*, std::size_t> held;
    std::mt19937_64 random(3);
    const auto pick = [&] {
      auto at = held.lower_bound(reinterpret_cast<void*>(random() % (std::uint64_t{1} << 47)));
      return at == held.end() ? held.begin() : at;
    };
    for (int i = 0; i < 300'000; ++i) {
      const std::size_t size = random() % 3 == 0 ? random() % 100'000 : random() % 200;
      const std::uint64_t what = random() % 8;
      if (held.empty() || what < 3) {
        held[memtrace_hook_malloc(size)] = size;
      } else if (what == 3) {
        held[memtrace_hook_memalign(64, size)] = size;
      } else if (what == 4) {
        const auto at = pick();
        void* old = at->first;
        held.erase(at);
        held[memtrace_hook_realloc(old, size + 1)] = size + 1;
      } else {
        const auto at = pick();
        memtrace_hook_free(at->first);
        held.erase(at);
      }
    }
    const Snapshot snapshot = test::take_and_read();
    expect(snapshot.records.size() == held.size());
    std::uint64_t bytes = 0;
    for (const Record& record : snapshot.records) {
      const auto known = held.find(reinterpret_cast<void*>(record.address));
      expect(known != held.end() && known->second == record.size_bytes);
      bytes += record.size_bytes;
    }
    std::uint64_t live = 0;
    std::uint64_t allocated = 0;
    std::uint64_t freed = 0;
    for (const Stack& stack : snapshot.stacks) {
      live += stack.live_bytes;
      allocated += stack.allocated_count;
      freed += stack.freed_count;
    }
    expect(live == bytes);
    expect(allocated - freed == held.size());
  }));
}
