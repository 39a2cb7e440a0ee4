#include "format/container_reader.hpp"

#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <string>

#include "format/decode_error.hpp"
#include "format/foreign_file.hpp"
#include "format/huge_pages.hpp"

namespace memtrace {
namespace {

using Bytes = std::span<const std::byte>;

// What `zstd -19` makes needs 23; more is for --ultra and --long, and would let a file ask for any amount.
constexpr int kMaxWindowLog = 24;
// Records shrink to a quarter at best, stacks that are all alike to a fiftieth: beyond this a message was
// made to fill memory, which zstd can do with a thirty-thousandth.
constexpr std::uint64_t kMaxRatio = 16;
constexpr std::uint64_t kFreeBytes = std::uint64_t{512} << 20;

constexpr std::uint32_t kZstdMagic = 0xFD2FB528;
constexpr std::uint32_t kSkippableMagic = 0x184D2A50;
constexpr std::uint32_t kSkippableMask = 0xFFFFFFF0;

[[noreturn]] void fail_cut_off(std::size_t size) {
  fail_in_file(size,
               "is cut off: its end is missing. Copy it again, or look for a full disk and take it again");
}

struct Head {
  std::uint32_t version = 0;
  std::uint64_t message_bytes = 0;
  std::size_t frame_bytes = 0;
};

bool has_signature(Bytes frame) {
  return frame.size() >= container::kHeadBytes &&
         std::memcmp(&frame[container::kSignatureAt], container::kSignature.data(),
                     container::kSignature.size()) == 0;
}

Head read_head(Bytes file, std::uint64_t max_message_bytes) {
  if (file.empty()) fail_in_file(0, "is empty: the disk may have been full; take the snapshot again");
  if (file.size() < container::kHeadBytes) {
    std::byte magic[4];
    container::store(magic, container::kHeadMagic);
    if (std::memcmp(magic, file.data(), std::min(file.size(), sizeof magic)) == 0) fail_cut_off(file.size());
    fail_in_file(0, describe_foreign_file(file));
  }
  if (container::load<std::uint32_t>(&file[container::kMagicAt]) != container::kHeadMagic ||
      !has_signature(file)) {
    fail_in_file(0, describe_foreign_file(file));
  }
  Head head;
  head.version = container::load<std::uint32_t>(&file[container::kVersionAt]);
  head.message_bytes = container::load<std::uint64_t>(&file[container::kMessageBytesAt]);
  head.frame_bytes = std::size_t{container::load<std::uint32_t>(&file[container::kPayloadSizeAt])} +
                     container::kFrameHeadBytes;
  if (head.frame_bytes < container::kHeadBytes) fail_in_file(container::kPayloadSizeAt, "has a damaged head");
  if (head.version == 0) fail_in_file(container::kVersionAt, "has a damaged head: there is no format 0");
  if (head.message_bytes == 0) {
    fail_in_file(
        container::kMessageBytesAt,
        "was never finished: the traced process ended, or the disk was full, while it was written; take "
        "the snapshot again");
  }
  if (head.message_bytes > max_message_bytes) {
    fail_in_file(container::kMessageBytesAt, "takes " + std::to_string(head.message_bytes) +
                                                 " bytes uncompressed, more than the limit of " +
                                                 std::to_string(max_message_bytes));
  }
  return head;
}

container::Totals read_tail(Bytes tail, std::size_t offset, const Head& head) {
  if (tail.size() < container::kTailBytes) fail_in_file(offset, "has a damaged tail");
  if (container::load<std::uint32_t>(&tail[container::kVersionAt]) != head.version) {
    fail_in_file(offset + container::kVersionAt, "is damaged: head and tail name different formats");
  }
  return {.message_bytes = container::load<std::uint64_t>(&tail[container::kMessageBytesAt]),
          .records = container::load<std::uint64_t>(&tail[container::kRecordsAt]),
          .samples = container::load<std::uint64_t>(&tail[container::kSamplesAt]),
          .locations = container::load<std::uint64_t>(&tail[container::kLocationsAt]),
          .modules = container::load<std::uint64_t>(&tail[container::kModulesAt])};
}

class Decompressor {
 public:
  Decompressor(std::uint64_t expected, std::size_t file_bytes)
      : expected_(expected),
        first_room_(kUsualRatio * file_bytes),
        context_(ZSTD_createDCtx(), &ZSTD_freeDCtx) {
    if (!context_) throw std::bad_alloc();
    ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, kMaxWindowLog);
  }

  void add(Bytes frame, std::size_t offset) {
    ZSTD_inBuffer in{frame.data(), frame.size(), 0};
    for (std::size_t left = 1; left != 0;) {
      if (size_ == capacity_) grow();
      ZSTD_outBuffer out{bytes_.get(), capacity_, size_};
      left = ZSTD_decompressStream(context_.get(), &out, &in);
      if (ZSTD_isError(left)) fail(left, offset + in.pos);
      size_ = out.pos;
      if (size_ > expected_) fail_in_file(offset, "is damaged: it holds more than its head says");
      if (left != 0 && in.pos == in.size && size_ < capacity_) fail_cut_off(offset + in.size);
    }
  }

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::unique_ptr<std::byte[]> take() { return std::move(bytes_); }

 private:
  // Grows with the file and with what has been decompressed, not with what the head claims.
  void grow() {
    const std::size_t room = std::max<std::size_t>({2 * capacity_, first_room_, 1 << 20});
    // One byte more than expected shows a frame that holds too much.
    capacity_ = static_cast<std::size_t>(std::min<std::uint64_t>(room, expected_ + 1));
    auto larger = std::make_unique_for_overwrite<std::byte[]>(capacity_);
    prefer_huge_pages(larger.get(), capacity_);
    if (size_ != 0) std::memcpy(larger.get(), bytes_.get(), size_);
    bytes_ = std::move(larger);
  }

  [[noreturn]] static void fail(std::size_t code, std::size_t offset) {
    switch (ZSTD_getErrorCode(code)) {
      case ZSTD_error_memory_allocation:
        throw std::bad_alloc();
      case ZSTD_error_checksum_wrong:
        fail_in_file(offset, "is damaged: its checksum does not match. Copy it again, or take it again");
      case ZSTD_error_frameParameter_windowTooLarge:
        fail_in_file(offset,
                     "was recompressed with a window that is too large: use the file as it was written");
      default:
        fail_in_file(offset, std::string("is damaged: ") + ZSTD_getErrorName(code));
    }
  }

  static constexpr std::size_t kUsualRatio = 4;  // records shrink to two thirds, all else to less

  std::uint64_t expected_;
  std::size_t first_room_;
  std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context_;
  std::unique_ptr<std::byte[]> bytes_;
  std::size_t capacity_ = 0;
  std::size_t size_ = 0;
};

}  // namespace

void check_head(Bytes start, std::uint64_t max_message_bytes) { (void)read_head(start, max_message_bytes); }

PackedMessage unpack(Bytes file, std::uint64_t max_message_bytes) {
  const Head head = read_head(file, std::min(max_message_bytes, kFreeBytes + kMaxRatio * file.size()));
  Decompressor message(head.message_bytes, file.size());
  std::size_t offset = head.frame_bytes;
  while (true) {
    // Every whole frame before the tail is followed by something.
    if (offset >= file.size() || file.size() - offset < sizeof(std::uint32_t)) fail_cut_off(file.size());
    const Bytes rest = file.subspan(offset);
    const auto magic = container::load<std::uint32_t>(rest.data());
    const bool skippable = (magic & kSkippableMask) == kSkippableMagic;
    if (!skippable && magic != kZstdMagic) fail_in_file(offset, "is damaged: no zstd frame begins here");
    const std::size_t frame_bytes = ZSTD_findFrameCompressedSize(rest.data(), rest.size());
    if (ZSTD_isError(frame_bytes)) {
      if (ZSTD_getErrorCode(frame_bytes) == ZSTD_error_srcSize_wrong) fail_cut_off(file.size());
      fail_in_file(offset, std::string("is damaged: ") + ZSTD_getErrorName(frame_bytes));
    }
    if (frame_bytes > rest.size()) fail_cut_off(file.size());
    const Bytes frame = rest.first(frame_bytes);
    if (magic == container::kTailMagic && has_signature(frame)) {
      const container::Totals totals = read_tail(frame, offset, head);
      if (offset + frame_bytes != file.size()) {
        fail_in_file(offset + frame_bytes, "goes on after its end: are these two snapshots in one file?");
      }
      if (message.size() != head.message_bytes || totals.message_bytes != head.message_bytes) {
        fail_in_file(offset, "is damaged: it does not hold as much as its head and tail say");
      }
      return {message.take(), static_cast<std::size_t>(head.message_bytes), head.version, totals};
    }
    if (!skippable) message.add(frame, offset);
    offset += frame_bytes;
  }
}

}  // namespace memtrace
