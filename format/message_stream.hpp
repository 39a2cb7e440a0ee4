// One protobuf message on its way into a file: fields, strings and batches of columns, in any order, pushed
// into zstd.
//
// Called by: the snapshot writer, which derives its state from it. Thread-safety: one thread at a time.
// Memory: itself, in the writer's workspace (P1); no libc but mem*.
// Failure: the first error sticks; later calls do nothing.
#pragma once

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "format/fields.hpp"
#include "format/recent_strings.hpp"
#include "format/utf8.hpp"
#include "format/wire.hpp"
#include "format/zstd_stream.hpp"

namespace memtrace {

// Room for a nested message that is put together before it is sent, since its size comes first.
inline constexpr std::size_t kMessageBytes = 4096;
// Longer strings are cut.
inline constexpr std::size_t kMaxString = 64 * 1024;

class MessageStream {
 public:
  wire::Encoder message{message_bytes_};

  void start(std::span<std::byte> workspace, const ByteSink& sink) {
    sink_ = sink;
    zstd_.start(workspace, sink);
    fail(zstd_.error());
  }

  [[nodiscard]] int error() const { return error_; }
  void fail(int code) {
    if (error_ == 0) error_ = code;
  }

  // Past the compressor: the frames around the message.
  void append(const void* data, std::size_t size) {
    if (error_ == 0) error_ = sink_.append(sink_.context, data, size);
  }
  void overwrite(std::uint64_t offset, const void* data, std::size_t size) {
    if (error_ == 0) error_ = sink_.overwrite(sink_.context, offset, data, size);
  }

  // Sends `message` as one length-delimited field.
  void push_message(std::uint32_t field) {
    if (message.overflowed()) fail(EINVAL);
    push_head(field, message.size());
    push_fields();
  }

  // Sends `message` as fields of the outermost message.
  void push_fields() {
    push(message);
    message.clear();
  }

  // The head of a length-delimited field; `size` bytes must follow.
  void push_head(std::uint32_t field, std::size_t size) {
    std::array<std::byte, 2 * wire::kMaxVarint> room;
    wire::Encoder head{room};
    head.bytes_head(field, size);
    push(head);
  }

  // A packed repeated field.
  void push_column(std::uint32_t field, const wire::Encoder& values) {
    push_head(field, values.size());
    push(values);
    if (values.size() >= kWorthABlock) zstd_.end_block();
    fail(zstd_.error());
  }

  // The index of `text` in the string table; written now unless it was a short while ago.
  [[nodiscard]] std::uint64_t string_index(std::string_view text) {
    if (text.empty() || error_ != 0) return 0;
    if (text.size() > kMaxString) text.remove_suffix(text.size() - kMaxString);
    std::uint32_t index = recent_.find(text);
    if (index == 0) {
      index = strings_;
      push_string(text);
      recent_.remember(text, index);
    }
    return index;
  }

  // Bytes that are not UTF-8 become '?': parsers of proto3 may refuse the whole file for one of them.
  void push_string(std::string_view text) {
    push_head(fields::kStringTable, text.size());
    while (!text.empty()) {
      const std::size_t valid = utf8_prefix(text);
      zstd_.push(text.data(), valid);
      text.remove_prefix(valid);
      if (text.empty()) break;
      zstd_.push("?", 1);
      text.remove_prefix(1);
    }
    fail(zstd_.error());
    ++strings_;
  }

  // Nothing may be pushed afterwards. Returns the size of the whole message.
  [[nodiscard]] std::uint64_t end_message() {
    if (error_ == 0) error_ = zstd_.finish();
    return zstd_.pushed_bytes();
  }

 private:
  // Below this, entropy tables of its own cost a column more than they save.
  static constexpr std::size_t kWorthABlock = 1024;

  void push(const wire::Encoder& encoded) {
    zstd_.push(encoded.data(), encoded.size());
    fail(zstd_.error());
  }

  ZstdStream zstd_;
  ByteSink sink_;
  int error_ = 0;
  std::uint32_t strings_ = 0;
  RecentStrings recent_;
  std::array<std::byte, kMessageBytes> message_bytes_;
};

}  // namespace memtrace
