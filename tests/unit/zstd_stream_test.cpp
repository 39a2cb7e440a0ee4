// Would break: snapshots that zstd cannot open, or compression that writes outside the memory it was given.
#include "format/zstd_stream.hpp"

#include <zstd.h>

#include <cerrno>
#include <random>

#include "tests/support/catch.hpp"
#include "tests/support/message_bytes.hpp"
#include "tests/support/snapshot_builder.hpp"

using memtrace::ByteSink;
using memtrace::ZstdStream;
using namespace memtrace::test;

namespace {

// Guarded on both sides.
class Workspace {
 public:
  std::span<std::byte> bytes() { return std::span(memory_).subspan(offset(), size_); }
  [[nodiscard]] bool intact() const {
    for (std::size_t i = 0; i < memory_.size(); ++i) {
      const bool outside = i < offset() || i >= offset() + size_;
      if (outside && memory_[i] != kGuard) return false;
    }
    return true;
  }

 private:
  static constexpr std::byte kGuard{0xA5};
  [[nodiscard]] std::size_t offset() const {
    return 128 - reinterpret_cast<std::uintptr_t>(memory_.data()) % 64;
  }
  std::size_t size_ = ZstdStream::workspace_bytes();
  std::vector<std::byte> memory_ = std::vector<std::byte>(size_ + 256, kGuard);
};

std::string random_text(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) {
    text[i] = i % 7 == 0 ? static_cast<char>(random()) : static_cast<char>('a' + i % 13);
  }
  return text;
}

}  // namespace

TEST_CASE("what was pushed comes back, whatever the pieces") {
  for (const std::size_t size : {0U, 1U, 1000U, 200'000U, 3'000'000U}) {
    for (const std::size_t piece : {1U, 4096U, 1'000'000U}) {
      if (piece == 1 && size > 200'000) continue;
      const std::string text = random_text(size, 7);
      Workspace workspace;
      MemorySink sink;
      ZstdStream stream;
      stream.start(workspace.bytes(), sink.sink());
      for (std::size_t at = 0; at < size; at += piece) {
        stream.push(text.data() + at, std::min(piece, size - at));
        if (at / piece % 5 == 0) stream.end_block();
      }
      REQUIRE(stream.finish() == 0);
      CHECK(stream.pushed_bytes() == size);
      CHECK(text_of(message_of(sink.bytes)) == text);
      CHECK(workspace.intact());
    }
  }
}

TEST_CASE("a frame carries a checksum of its content") {
  Workspace workspace;
  MemorySink sink;
  ZstdStream stream;
  stream.start(workspace.bytes(), sink.sink());
  stream.push("content", 7);
  REQUIRE(stream.finish() == 0);
  REQUIRE(sink.bytes.size() > 5);
  const auto descriptor = static_cast<unsigned>(sink.bytes[4]);
  CHECK((descriptor & 0x04) != 0);  // RFC 8878, 3.1.1.1.1: Content_Checksum_flag
}

TEST_CASE("a workspace may be used again") {
  Workspace workspace;
  for (int i = 0; i < 3; ++i) {
    const std::string text = random_text(300'000, static_cast<unsigned>(i));
    MemorySink sink;
    ZstdStream stream;
    stream.start(workspace.bytes(), sink.sink());
    stream.push(text.data(), text.size());
    REQUIRE(stream.finish() == 0);
    CHECK(text_of(message_of(sink.bytes)) == text);
  }
}

TEST_CASE("a workspace that is too small is refused") {
  Workspace workspace;
  MemorySink sink;
  ZstdStream stream;
  stream.start(workspace.bytes().first(ZstdStream::workspace_bytes() - 1), sink.sink());
  CHECK(stream.error() == ENOMEM);
  stream.push("content", 7);
  stream.end_block();
  CHECK(stream.finish() == ENOMEM);
  CHECK(sink.bytes.empty());
}

TEST_CASE("the first error of the sink stays and stops the stream") {
  struct Failing {
    int calls = 0;
  } failing;
  const ByteSink sink{&failing,
                      [](void* context, const void*, std::size_t) {
                        return ++static_cast<Failing*>(context)->calls == 1 ? ENOSPC : EIO;
                      },
                      nullptr};
  Workspace workspace;
  ZstdStream stream;
  stream.start(workspace.bytes(), sink);
  std::mt19937_64 random(1);
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t noise = random();
    stream.push(&noise, sizeof noise);
  }
  CHECK(stream.error() == ENOSPC);
  CHECK(stream.finish() == ENOSPC);
  CHECK(failing.calls == 1);
}
