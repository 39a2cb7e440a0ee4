#include "analyzer/symbols/mini_debug_info.hpp"

#include <lzma.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace memtrace {
namespace {

constexpr std::uint64_t kMaxDecoderBytes = std::uint64_t{256} << 20;
constexpr std::size_t kMaxImageBytes = std::size_t{256} << 20;

}  // namespace

std::unique_ptr<ElfFile> read_mini_debug_info(const ElfFile& file) {
  const Elf_Data* data = file.section(".gnu_debugdata");
  if (data == nullptr) return nullptr;

  lzma_stream stream = LZMA_STREAM_INIT;
  if (lzma_stream_decoder(&stream, kMaxDecoderBytes, 0) != LZMA_OK) return nullptr;
  stream.next_in = static_cast<const std::uint8_t*>(data->d_buf);
  stream.avail_in = data->d_size;

  std::vector<char> image(std::min(kMaxImageBytes, data->d_size * 8 + 4096));
  std::size_t used = 0;
  lzma_ret status = LZMA_OK;
  while (status == LZMA_OK) {
    if (used == image.size()) {
      if (used >= kMaxImageBytes) break;
      image.resize(std::min(kMaxImageBytes, used * 2));
    }
    stream.next_out = reinterpret_cast<std::uint8_t*>(image.data()) + used;
    stream.avail_out = image.size() - used;
    status = lzma_code(&stream, LZMA_FINISH);
    used = image.size() - stream.avail_out;
  }
  lzma_end(&stream);
  if (status != LZMA_STREAM_END) return nullptr;
  ElfFile::Image exact(used);
  if (exact.size() != used) return nullptr;
  std::copy_n(image.data(), used, exact.bytes());
  return ElfFile::from_memory(std::move(exact), file.path() + "[.gnu_debugdata]");
}

}  // namespace memtrace
