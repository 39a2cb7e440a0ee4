#include "format/foreign_file.hpp"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

namespace memtrace {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kOurs = "memdiff reads the .snap files that libmemtrace.so writes";

struct Signature {
  std::string_view start;
  std::string_view what;
};
constexpr std::array kSignatures = {
    Signature{
        "\x1f\x8b"sv,
        "is gzip data, not a snapshot: a pprof profile (.pb.gz) opens with `go tool pprof`, a heaptrack "
        "recording with heaptrack_print"sv},
    Signature{"\x7f"
              "ELF"sv,
              "is an ELF program, library or core file, not a snapshot"sv},
    Signature{"BZh"sv, "is bzip2 data, not a snapshot: unpack it first if a snapshot is inside"sv},
    Signature{"\xfd"
              "7zXZ\0"sv,
              "is xz data, not a snapshot: unpack it first if a snapshot is inside"sv},
    Signature{"PK\x03\x04"sv, "is a zip archive, not a snapshot: unpack it first if a snapshot is inside"sv},
    Signature{"MDMP"sv, "is a minidump, not a snapshot"sv},
    Signature{"%PDF"sv, "is a PDF document, not a snapshot"sv},
    Signature{"memray"sv, "is a memray recording, not a snapshot: open it with memray"sv},
    Signature{"heap profile:"sv, "is a gperftools heap profile, not a snapshot: open it with pprof"sv},
    Signature{"heap_v2/"sv, "is a jemalloc heap profile, not a snapshot: open it with jeprof"sv},
};
constexpr std::string_view kZstdMagic = "\x28\xb5\x2f\xfd"sv;
// The message of a snapshot starts with the empty string of its string table; other profiles with a
// sample_type.
constexpr std::string_view kOurMessage = "\x32\x00"sv;
constexpr std::string_view kPprofMessage = "\x0a"sv;

// The first bytes inside zstd data, as far as they can be had.
std::string peek(std::string_view compressed) {
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(), &ZSTD_freeDCtx);
  std::string start(16, '\0');
  ZSTD_inBuffer in{compressed.data(), compressed.size(), 0};
  ZSTD_outBuffer out{start.data(), start.size(), 0};
  while (context && out.pos < out.size && in.pos < in.size) {
    const std::size_t before = in.pos + out.pos;
    if (ZSTD_isError(ZSTD_decompressStream(context.get(), &out, &in)) || in.pos + out.pos == before) break;
  }
  start.resize(out.pos);
  return start;
}

bool is_text(std::string_view start) {
  return std::ranges::all_of(start, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 ? byte != 0x7f : byte == '\n' || byte == '\t' || byte == '\r';
  });
}

}  // namespace

std::string describe_foreign_file(std::span<const std::byte> file) {
  const std::string_view all(reinterpret_cast<const char*>(file.data()), file.size());
  for (const Signature& s : kSignatures) {
    if (all.starts_with(s.start)) return std::string(s.what) + "; " + std::string(kOurs);
  }
  const std::string_view start = all.substr(0, 512);
  if (start.starts_with(kZstdMagic)) {
    const std::string inside = peek(all);
    if (inside.starts_with("v ")) {
      return "is a heaptrack recording, not a snapshot: open it with heaptrack_print; " + std::string(kOurs);
    }
    if (inside.starts_with(kOurMessage)) {
      return "is a snapshot that was recompressed and lost its head: use the file as libmemtrace.so wrote it";
    }
    return "is zstd data without a snapshot's head; " + std::string(kOurs);
  }
  if (start.starts_with(kOurMessage)) {
    return "is the uncompressed message of a snapshot, as `zstd -d` leaves it: use the .snap file itself, or "
           "open "
           "this one with `go tool pprof`";
  }
  if (std::ranges::all_of(start, [](char c) { return c == '\0'; })) {
    return "holds only zeros: the machine or the disk failed before the data was stored; take the snapshot "
           "again";
  }
  if (is_text(start)) return "is text, not a snapshot; " + std::string(kOurs);
  if (start.starts_with(kPprofMessage)) {
    return "is no snapshot; it may be an uncompressed pprof profile, which opens with `go tool pprof`; " +
           std::string(kOurs);
  }
  return "is no snapshot; " + std::string(kOurs);
}

}  // namespace memtrace
