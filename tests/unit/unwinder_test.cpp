// Would break: stacks that name other callers than the real ones, or a host that crashes because a register
// was no frame pointer.
#include "preload/unwind/unwinder.hpp"

#include <sys/mman.h>

#include <array>
#include <vector>

#include "tests/support/catch.hpp"

using namespace memtrace;

namespace {

using Frames = std::vector<ReturnAddress>;

Frames walk(const void* frame, std::size_t room = 32) {
  Frames frames(room);
  static constexpr ReturnAddress kCalledFrom[] = {ReturnAddress{0x1234'5678}, ReturnAddress{}};
  frames.resize(capture_by_frame_pointer({&kCalledFrom[1], frame}, frames.data(), room).frames);
  return frames;
}

// Frames laid out by hand, above the walker's own on this stack.
struct Chain {
  std::array<std::uintptr_t, 64> words{};
  // Frame i at word 4 * i: the next frame's address, the return address.
  explicit Chain(std::size_t frames) {
    for (std::size_t i = 0; i < frames; ++i) {
      words[4 * i] = i + 1 < frames ? reinterpret_cast<std::uintptr_t>(&words[4 * i + 4]) : 0;
      words[4 * i + 1] = 0x40'0000 + i;
    }
  }
};

[[gnu::noipa]] Frames capture_here(const Unwinder& unwinder, int depth) {
  if (depth > 0) {
    Frames frames = capture_here(unwinder, depth - 1);
    asm volatile("" ::: "memory");  // not a tail call
    return frames;
  }
  Frames frames(64);
  // Asking for it makes a frame of this function's, where the caller's rbp was pushed.
  const auto* frame = static_cast<void* const*>(__builtin_frame_address(0));
  const Caller caller{__builtin_dwarf_cfa(), *frame};
  frames.resize(unwinder.capture(caller, frames.data(), frames.size()).frames);
  return frames;
}

}  // namespace

TEST_CASE("frame pointers: a chain is walked to its end") {
  const Chain chain(5);
  const Frames frames = walk(chain.words.data());
  REQUIRE(frames.size() == 6);
  CHECK(frames[0] == ReturnAddress{0x1234'5678});
  for (std::size_t i = 0; i < 5; ++i) CHECK(value(frames[i + 1]) == 0x40'0000 + i);
}

TEST_CASE("frame pointers: no more than there is room for") {
  const Chain chain(10);
  CHECK(walk(chain.words.data(), 0).empty());
  CHECK(walk(chain.words.data(), 1).size() == 1);
  CHECK(walk(chain.words.data(), 4).size() == 4);
}

TEST_CASE("frame pointers: any register value is survived") {
  const Chain chain(3);
  const auto here = reinterpret_cast<std::uintptr_t>(chain.words.data());
  for (const std::uintptr_t frame :
       {std::uintptr_t{0}, std::uintptr_t{1}, std::uintptr_t{8}, here + 1, here + 4, here - (1 << 20),
        here + (std::uintptr_t{1} << 30), UINTPTR_MAX, UINTPTR_MAX - 7, std::uintptr_t{1} << 63,
        std::uintptr_t{0x7fff'ffff'fff8}}) {
    CAPTURE(frame);
    CHECK(walk(reinterpret_cast<const void*>(frame)).size() == 1);
  }
}

TEST_CASE("frame pointers: a chain that points down or at itself ends") {
  Chain chain(4);
  chain.words[8] = reinterpret_cast<std::uintptr_t>(&chain.words[0]);  // the third frame, back to the first
  CHECK(walk(chain.words.data()).size() == 4);
  Chain itself(4);
  itself.words[4] = reinterpret_cast<std::uintptr_t>(&itself.words[4]);
  CHECK(walk(itself.words.data()).size() == 3);
  Chain no_return(4);
  no_return.words[5] = 7;  // in page zero: no code is there
  CHECK(walk(no_return.words.data()).size() == 2);
}

TEST_CASE("frame pointers: pages that cannot be read end the walk") {
  // Two pages above this frame on a stack of our own kind: the second one forbids reading.
  const std::size_t page = 4096;
  Frames frames(32);
  const auto below = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  void* wanted = reinterpret_cast<void*>((below & ~(page - 1)) + (std::uintptr_t{8} << 20));
  auto* pages = static_cast<char*>(mmap(wanted, 3 * page, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
  if (pages == MAP_FAILED || pages != wanted) {
    WARN("no room above this stack: the main thread's lies at the top of memory");
    return;
  }
  auto* words = reinterpret_cast<std::uintptr_t*>(pages);
  words[0] = reinterpret_cast<std::uintptr_t>(pages + page - 8);  // a frame across the edge
  words[1] = 0x40'0000;
  CHECK(mprotect(pages + page, page, PROT_NONE) == 0);
  CHECK(walk(pages).size() == 2);
  CHECK(munmap(pages + page, page) == 0);
  CHECK(walk(pages).size() == 2);
  munmap(pages, page);
  munmap(pages + 2 * page, page);
}

TEST_CASE("the choice falls back, and says what it became") {
  PageArena arena;
  arena.start(64 << 20);
  const auto name = [&](UnwindChoice choice) { return std::string(choose_unwinder(choice, arena).name); };
  CHECK(name(UnwindChoice::kFramePointer) == "fp");
  CHECK(name(UnwindChoice::kLibunwind) == (open_libunwind() ? "libunwind" : "fp"));
  CHECK(name(UnwindChoice::kBoost) == (open_boost() ? "boost" : "fp"));
  CHECK(name(UnwindChoice::kAuto) == "cfi");
  CHECK(name(UnwindChoice::kCfi) == "cfi");
  PageArena none;
  CHECK(std::string(choose_unwinder(UnwindChoice::kAuto, none).name) == "fp");
}

TEST_CASE("every strategy: the caller comes first, then its callers, however deep") {
  PageArena arena;
  arena.start(64 << 20);
  const UnwindChoice choice = GENERATE(UnwindChoice::kCfi, UnwindChoice::kLibunwind, UnwindChoice::kBoost);
  const Unwinder unwinder = choose_unwinder(choice, arena);
  CAPTURE(unwinder.name);
  if (std::string(unwinder.name) == "fp") return;  // not to be had here
  const Frames shallow = capture_here(unwinder, 0);
  const Frames deep = capture_here(unwinder, 10);
  REQUIRE(shallow.size() > 1);
  CHECK(deep.size() == shallow.size() + 10);
  // Ten equal calls, one return address; below them the way that both came.
  for (std::size_t i = 1; i < 10; ++i) CHECK(deep[i] == deep[0]);
  for (std::size_t i = 1; i < shallow.size(); ++i) CHECK(deep[i + 10] == shallow[i]);
}

TEST_CASE("strategies that start at their own frame: a caller that is not on the stack gives nothing") {
  PageArena arena;
  const UnwindChoice choice = GENERATE(UnwindChoice::kLibunwind, UnwindChoice::kBoost);
  const Unwinder unwinder = choose_unwinder(choice, arena);
  if (std::string(unwinder.name) == "fp") return;
  Frames frames(64);
  static constexpr ReturnAddress kNowhere[] = {ReturnAddress{1}, ReturnAddress{}};
  CHECK(unwinder.capture({&kNowhere[1], nullptr}, frames.data(), frames.size()).frames == 0);
}
