// What our own format says of each stack, while it waits to be written as one StackBatch.
//
// Called by: the snapshot writer, once per stack (snapshot cost). Lives in the writer's workspace (P1).
// When full: add() says so, and push() must follow before the next add().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "format/fields.hpp"
#include "format/message_stream.hpp"
#include "format/wire.hpp"

namespace memtrace {

class StackBatch {
 public:
  enum class Room { kLeft, kNone };

  Room add(std::uint64_t freed_count, std::uint64_t freed_bytes, bool truncated) {
    freed_count_.varint(freed_count);
    freed_bytes_.varint(freed_bytes);
    truncated_.varint(truncated ? 1 : 0);
    return ++rows_ == kRows ? Room::kNone : Room::kLeft;
  }

  void push(MessageStream& to) {
    if (rows_ == 0) return;
    namespace f = fields::stack_batch;
    to.push_head(fields::kStacks, wire::bytes_field_size(f::kFreedObjects, freed_count_.size()) +
                                      wire::bytes_field_size(f::kFreedBytes, freed_bytes_.size()) +
                                      wire::bytes_field_size(f::kTruncated, truncated_.size()));
    to.push_column(f::kFreedObjects, freed_count_);
    to.push_column(f::kFreedBytes, freed_bytes_);
    to.push_column(f::kTruncated, truncated_);
    freed_count_.clear();
    freed_bytes_.clear();
    truncated_.clear();
    rows_ = 0;
  }

 private:
  static constexpr std::size_t kRows = 2048;
  using Numbers = std::array<std::byte, kRows * wire::kMaxVarint>;

  std::size_t rows_ = 0;
  wire::Encoder freed_count_{freed_count_bytes_};
  wire::Encoder freed_bytes_{freed_bytes_bytes_};
  wire::Encoder truncated_{truncated_bytes_};
  Numbers freed_count_bytes_;
  Numbers freed_bytes_bytes_;
  std::array<std::byte, kRows> truncated_bytes_;
};

}  // namespace memtrace
