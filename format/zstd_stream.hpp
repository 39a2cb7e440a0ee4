// Compresses one zstd frame (level 1, content checksum) into a ByteSink, without a heap.
//
// Called by: the snapshot writer (snapshot cost). Thread-safety: one thread at a time.
// Memory: the workspace handed in (P1); a page of stack; no libc calls but mem*.
// Failure: the first error of the sink, or ENOMEM when zstd itself refuses, sticks; later calls do nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

struct ZSTD_CCtx_s;

namespace memtrace {

// Where bytes go. Both functions return 0 or an errno value.
struct ByteSink {
  void* context = nullptr;
  int (*append)(void* context, const void* data, std::size_t size) = nullptr;
  // Overwrites bytes already appended (the totals in the head frame).
  int (*overwrite)(void* context, std::uint64_t offset, const void* data, std::size_t size) = nullptr;
};

class ZstdStream {
 public:
  // Multiple of 64. Depends on the zstd linked: ask once at start.
  [[nodiscard]] static std::size_t workspace_bytes();

  // `workspace` must be 64-byte aligned and outlive the stream; its content does not matter.
  void start(std::span<std::byte> workspace, const ByteSink& sink);
  void push(const void* data, std::size_t size);
  // Ends the block, so that what follows gets its own entropy tables: worth it between columns of unlike
  // numbers.
  void end_block();
  // Ends the frame and hands all bytes to the sink.
  [[nodiscard]] int finish();

  [[nodiscard]] int error() const { return error_; }
  [[nodiscard]] std::uint64_t pushed_bytes() const { return pushed_bytes_; }

 private:
  void compress(const void* data, std::size_t size, int directive);
  void drain();

  ZSTD_CCtx_s* context_ = nullptr;
  std::span<std::byte> output_;
  std::size_t output_used_ = 0;
  ByteSink sink_;
  std::uint64_t pushed_bytes_ = 0;
  int error_ = 0;
};

}  // namespace memtrace
