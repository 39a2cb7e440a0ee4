#include "format/zstd_stream.hpp"

#include <cerrno>

#define ZSTD_STATIC_LINKING_ONLY  // static workspaces
#include <zstd.h>

// libzstd.a calls these where the program defines them: the host's, which are not written for our thread.
#if defined(MEMTRACE_ZSTD_STATIC)
extern "C" {
unsigned long long ZSTD_trace_compress_begin(const ZSTD_CCtx*) { return 0; }  // 0: not traced
void ZSTD_trace_compress_end(unsigned long long, const void*) {}
}
#endif

namespace memtrace {
namespace {

constexpr int kLevel = 1;
constexpr std::size_t kOutputBytes = 64 * 1024;

}  // namespace

std::size_t ZstdStream::workspace_bytes() {
  const std::size_t needed = kOutputBytes + ZSTD_estimateCStreamSize(kLevel);
  return (needed + 63) / 64 * 64;
}

void ZstdStream::start(std::span<std::byte> workspace, const ByteSink& sink) {
  sink_ = sink;
  output_used_ = 0;
  pushed_bytes_ = 0;
  error_ = ENOMEM;
  if (workspace.size() < workspace_bytes()) return;
  output_ = workspace.first(kOutputBytes);
  const auto rest = workspace.subspan(kOutputBytes);
  context_ = ZSTD_initStaticCStream(rest.data(), rest.size());
  if (context_ == nullptr) return;
  if (ZSTD_isError(ZSTD_CCtx_setParameter(context_, ZSTD_c_compressionLevel, kLevel))) return;
  if (ZSTD_isError(ZSTD_CCtx_setParameter(context_, ZSTD_c_checksumFlag, 1))) return;
  error_ = 0;
}

void ZstdStream::push(const void* data, std::size_t size) {
  compress(data, size, ZSTD_e_continue);
  pushed_bytes_ += size;
}

void ZstdStream::end_block() { compress(nullptr, 0, ZSTD_e_flush); }

int ZstdStream::finish() {
  compress(nullptr, 0, ZSTD_e_end);
  drain();
  return error_;
}

void ZstdStream::compress(const void* data, std::size_t size, int directive) {
  ZSTD_inBuffer in{data, size, 0};
  bool done = false;
  while (error_ == 0 && !done) {
    ZSTD_outBuffer out{output_.data(), output_.size(), output_used_};
    const std::size_t left =
        ZSTD_compressStream2(context_, &out, &in, static_cast<ZSTD_EndDirective>(directive));
    if (ZSTD_isError(left)) {
      error_ = ENOMEM;
      return;
    }
    output_used_ = out.pos;
    if (output_used_ == output_.size()) drain();
    done = directive == ZSTD_e_continue ? in.pos == in.size : left == 0;
  }
}

void ZstdStream::drain() {
  if (error_ != 0 || output_used_ == 0) return;
  error_ = sink_.append(sink_.context, output_.data(), output_used_);
  output_used_ = 0;
}

}  // namespace memtrace
