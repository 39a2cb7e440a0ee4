// Would break: a walk that reads where nothing may be read, or one that stops short of the stack's end.
#include "preload/unwind/stack_range.hpp"

#include <pthread.h>
#include <sys/mman.h>

#include <functional>

#include "preload/sys/page_arena.hpp"
#include "preload/sys/readable.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/child.hpp"

using namespace memtrace;

namespace {

std::uintptr_t here() { return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)); }

// Pages of our own, the first `readable` of them readable, from page 1 on; page 0 and the rest are not.
struct Pages {
  static constexpr std::size_t kCount = 512;
  char* base;
  explicit Pages(std::size_t readable) {
    base =
        static_cast<char*>(mmap(nullptr, kCount * kPageBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REQUIRE(base != MAP_FAILED);
    REQUIRE(mprotect(base + kPageBytes, readable * kPageBytes, PROT_READ | PROT_WRITE) == 0);
  }
  ~Pages() { munmap(base, kCount * kPageBytes); }
  [[nodiscard]] std::uintptr_t page(std::size_t number) const {
    return reinterpret_cast<std::uintptr_t>(base) + number * kPageBytes;
  }
};

bool covers(const StackRange& range, std::uintptr_t from, std::uintptr_t to) {
  return from >= range.low() && to <= range.high();
}

// Stacks have places that sanitizers forbid.
[[gnu::no_sanitize("address", "thread")]] void read_all(const StackRange& range) {
  volatile char sum = 0;
  for (std::uintptr_t at = range.low(); at < range.high(); at += 64) {
    sum = static_cast<char>(sum + *reinterpret_cast<const volatile char*>(at));
  }
}

void run_thread(std::function<void()> body, void* stack = nullptr, std::size_t bytes = 0) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  if (stack) REQUIRE(pthread_attr_setstack(&attributes, stack, bytes) == 0);
  pthread_t thread;
  REQUIRE(pthread_create(
              &thread, &attributes,
              [](void* f) -> void* {
                (*static_cast<std::function<void()>*>(f))();
                return nullptr;
              },
              &body) == 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

}  // namespace

TEST_CASE("a stack that is not this thread's: its page, and further as far as pages can be read") {
  const Pages pages(3);
  ThreadSlab slab;
  const bool with_slab = GENERATE(false, true);
  const std::uintptr_t sp = pages.page(1) + 64;
  StackRange range(sp, with_slab ? &slab : nullptr);
  CHECK(range.low() == pages.page(1));
  CHECK(range.high() == pages.page(2));
  CHECK(range.extend(pages.page(2) + 1));
  CHECK(range.high() == pages.page(3));
  CHECK(range.extend(pages.page(4)));
  CHECK(range.high() == pages.page(4));
  read_all(range);
  CHECK_FALSE(range.extend(pages.page(4) + 1));
  CHECK(range.high() == pages.page(4));
  CHECK_FALSE(range.extend(pages.page(2)));  // no further than it is already
  CHECK_FALSE(range.extend(UINTPTR_MAX));
  CHECK_FALSE(range.extend(0));
}

TEST_CASE("an extension that would leap over an unreadable page is none") {
  const Pages pages(5);
  REQUIRE(mprotect(pages.base + 3 * kPageBytes, kPageBytes, PROT_NONE) == 0);
  StackRange range(pages.page(1) + 8, nullptr);
  CHECK_FALSE(range.extend(pages.page(5)));
  CHECK(range.extend(pages.page(3)));
  CHECK(range.high() == pages.page(3));
  REQUIRE(munmap(pages.base + 3 * kPageBytes, kPageBytes) == 0);
  CHECK_FALSE(range.extend(pages.page(3) + 1));
}

TEST_CASE("a stack pointer at the edge of its page belongs to the page below") {
  const Pages pages(3);
  const StackRange range(pages.page(3), nullptr);
  CHECK(range.low() == pages.page(2));
  CHECK(range.high() == pages.page(3));
}

TEST_CASE("a claimed stack pointer: nothing is readable until it was asked for, nothing is remembered") {
  const Pages pages(3);
  ThreadSlab slab;
  for (const std::uintptr_t sp :
       {pages.page(0) + 64, pages.page(1), pages.page(3) + 4000, pages.page(4), pages.page(5) + 8}) {
    StackRange range(sp, &slab, StackPointer::kClaimed);
    CHECK(range.high() <= sp);
    CHECK(range.extend(sp + 8) == (sp >= pages.page(1) && sp < pages.page(4)));
  }
  run_thread([&] {
    ThreadSlab own;
    const StackRange before(here(), &own);
    const std::uintptr_t low = own.stack_low;
    const StackRange claimed(here() - 200'000, &own, StackPointer::kClaimed);
    CHECK(covers(claimed, here() - 200'000, here()));
    read_all(claimed);
    CHECK(own.stack_low == low);
    const StackRange below(here() - (std::uintptr_t{40} << 20), &own,
                           StackPointer::kClaimed);  // past the guard
    CHECK(below.high() <= here() - (std::uintptr_t{39} << 20));
    CHECK(own.stack_low == low);
  });
}

TEST_CASE("a claim far below the main stack, where the kernel has not put one yet") {
  CHECK(test::in_child([] {
          StackRange::note_main_stack();
          ThreadSlab slab;
          const StackRange own(here(), &slab);
          StackRange claimed(here() - (std::uintptr_t{48} << 20), &slab, StackPointer::kClaimed);
          test::expect(claimed.high() < here() - (std::uintptr_t{40} << 20));
          test::expect(!claimed.extend(claimed.high() + 8));
          test::expect(slab.stack_low == own.low());
        }).fine());
}

TEST_CASE("a thread's own stack is known up to its control block, at once, and remembered") {
  std::uintptr_t high = 0;
  run_thread([&] {
    ThreadSlab slab;
    const StackRange range(here(), &slab);
    CHECK(covers(range, here(), reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer())));
    high = range.high();
    CHECK(slab.stack_high == high);
    CHECK(slab.stack_low == range.low());
    read_all(range);
    StackRange again(here() + 64, &slab);
    CHECK(again.low() == slab.stack_low);
    CHECK(again.high() == slab.stack_high);
    CHECK_FALSE(again.extend(high + 1));  // beyond its anchor there is no stack
    // Deeper: the range grows down and keeps its top.
    const StackRange deeper(here() - 100'000, &slab);
    CHECK(covers(deeper, here() - 100'000, high));
    read_all(deeper);
  });
  CHECK(high != 0);
}

TEST_CASE("a stack that the program gave to pthread_create") {
  const Pages pages(300);
  run_thread(
      [&] {
        ThreadSlab slab;
        StackRange range(here(), &slab);
        CHECK(range.low() >= pages.page(1));
        CHECK(range.high() <= pages.page(301));
        CHECK(covers(range, here(), here() + 256));
        read_all(range);
        CHECK_FALSE(range.extend(pages.page(301) + 1));
      },
      pages.base + kPageBytes, 300 * kPageBytes);
}

TEST_CASE("an alternate stack, above or below the thread's own, does not pass for it") {
  run_thread([&] {
    ThreadSlab slab;
    const StackRange own(here(), &slab);
    const Pages pages(2);
    // Its pages, and those between it and the thread's stack, are not all readable.
    StackRange other(pages.page(2) + 100, &slab);
    CHECK(other.low() == pages.page(2));
    CHECK(other.high() == pages.page(3));
    CHECK_FALSE(other.extend(pages.page(3) + 8));
    CHECK(slab.stack_high == own.high());
    CHECK(slab.stack_low == own.low());
  });
}

TEST_CASE("the main thread's stack reaches to where the kernel put its arguments") {
  CHECK(test::in_child([] {
          StackRange::note_main_stack();
          ThreadSlab slab;
          const StackRange range(here(), &slab);
          test::expect(range.high() % kPageBytes == 0);
          test::expect(covers(range, here(), reinterpret_cast<std::uintptr_t>(environ[0])));
          read_all(range);
          const StackRange deeper(here() - 30'000, &slab);
          test::expect(deeper.low() <= here() - 30'000 && deeper.high() == range.high());
          // The byte behind it is not stack; reading there faults.
          test::expect(!sys::readable(range.high()));
        }).fine());
}

TEST_CASE("another thread's slab entry is no use for the main stack, and the other way round") {
  CHECK(test::in_child([] {
          StackRange::note_main_stack();
          const std::uintptr_t main_sp = here();
          run_thread([main_sp] {
            ThreadSlab slab;
            // A walk that a signal frame led to a stack of another thread: page by page.
            StackRange range(main_sp, &slab);
            test::expect(range.high() - range.low() == kPageBytes);
            test::expect(range.extend(range.high() + 1));
          });
        }).fine());
}
