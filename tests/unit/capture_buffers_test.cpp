// Would break: two threads write their stacks into one buffer, or the last buffer is never given back.
#include "preload/capture_buffers.hpp"

#include <memory>
#include <set>

#include "tests/support/catch.hpp"
#include "tests/support/threads.hpp"

using namespace memtrace;

TEST_CASE("every buffer is lent once, then there is none") {
  const auto buffers = std::make_unique<CaptureBuffers>();
  std::set<CaptureBuffers::Buffer*> lent;
  for (std::size_t i = 0; i < CaptureBuffers::kBuffers; ++i) lent.insert(buffers->borrow(UINT32_MAX));
  CHECK(lent.size() == CaptureBuffers::kBuffers);
  CHECK_FALSE(lent.contains(nullptr));
  CHECK(buffers->borrow(0) == nullptr);
  buffers->give_back(*lent.begin());
  CHECK(buffers->borrow(7) == *lent.begin());
}

TEST_CASE("a forked child has all of them") {
  const auto buffers = std::make_unique<CaptureBuffers>();
  while (buffers->borrow(1)) {
  }
  buffers->reset_after_fork();
  for (std::size_t i = 0; i < CaptureBuffers::kBuffers; ++i) CHECK(buffers->borrow(1) != nullptr);
}

TEST_CASE("no two threads hold one buffer") {
  const auto buffers = std::make_unique<CaptureBuffers>();
  std::atomic<int> torn{0};
  test::run_threads(8, [&](unsigned thread) {
    const auto mine = static_cast<ReturnAddress>(thread + 1);
    for (int i = 0; i < 10'000; ++i) {
      CaptureBuffers::Buffer* buffer = buffers->borrow(3);  // all want the same
      if (!buffer) {
        ++torn;
        continue;
      }
      for (ReturnAddress& frame : buffer->frames) frame = mine;
      for (const ReturnAddress frame : buffer->frames) torn += frame != mine;
      buffers->give_back(buffer);
    }
  });
  CHECK(torn == 0);
}
