// Would break: memdiff crashing, hanging or eating all memory on a damaged or hostile .snap file.
//
// The first byte chooses what the rest is: a file, or a message as it is after decompression, which a fuzzer
// could not reach through the checksums.
#include <cstddef>
#include <cstdint>
#include <span>

#include "format/message_decoder.hpp"
#include "format/snapshot_reader.hpp"
#include "tests/fuzz/require.hpp"

namespace {

using memtrace::fuzz::require;

// What snapshot.hpp promises of every Snapshot that the reader returns.
void check(const memtrace::Snapshot& s) {
  require(s.format_version > 0 && s.interval_bytes > 0);
  for (const auto& location : s.locations) {
    require(location.module == memtrace::kNoModule || location.module < s.modules.size());
  }
  for (const std::uint32_t frame : s.frames) require(frame < s.locations.size());
  for (const auto& stack : s.stacks) {
    require(std::uint64_t{stack.first_frame} + stack.frame_count <= s.frames.size());
  }
  for (const auto& record : s.records) {
    require(record.stack < s.stacks.size() && record.kind <= memtrace::AllocKind::kShared);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto rest = std::as_bytes(std::span(data, size)).subspan(1);
  if (data[0] == 0) {
    const auto result = memtrace::read_snapshot(rest, {.max_message_bytes = 64 << 20});
    if (result.ok()) {
      check(result.value());
    } else {
      require(!result.error().why.empty());
    }
  } else {
    const auto result = memtrace::decode_message(rest);
    if (result.ok()) {
      check(result.value().snapshot);
    } else {
      require(!result.error().why.empty());
    }
  }
  return 0;
}
