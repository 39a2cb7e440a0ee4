#include "tests/support/message_bytes.hpp"

#include <zstd.h>

#include <cstring>
#include <memory>
#include <stdexcept>

namespace memtrace::test {
namespace {

std::vector<std::byte> frame(std::uint32_t magic, std::size_t size, std::uint32_t version,
                             std::uint64_t message_bytes) {
  std::vector<std::byte> bytes(size);
  container::store(&bytes[0], magic);
  container::store(&bytes[4], static_cast<std::uint32_t>(size - 8));
  std::memcpy(&bytes[8], "MEMTRACE", 8);
  container::store(&bytes[16], version);
  container::store(&bytes[24], message_bytes);
  return bytes;
}

}  // namespace

void MessageBytes::varint(std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<std::byte>(value | 0x80));
  bytes_.push_back(static_cast<std::byte>(value));
}

MessageBytes& MessageBytes::number(std::uint32_t field, std::uint64_t value) {
  varint(field * 8);
  varint(value);
  return *this;
}

MessageBytes& MessageBytes::packed(std::uint32_t field, const std::vector<std::uint64_t>& values) {
  MessageBytes packed;
  for (const std::uint64_t v : values) packed.varint(v);
  return add(field, packed);
}

MessageBytes& MessageBytes::text(std::uint32_t field, std::string_view value) {
  return add(field, MessageBytes(bytes_of(value)));
}

MessageBytes& MessageBytes::add(std::uint32_t field, const MessageBytes& message) {
  varint(field * 8 + 2);
  varint(message.bytes_.size());
  bytes_.insert(bytes_.end(), message.bytes_.begin(), message.bytes_.end());
  return *this;
}

MessageBytes& MessageBytes::raw(std::string_view bytes) {
  const auto more = bytes_of(bytes);
  bytes_.insert(bytes_.end(), more.begin(), more.end());
  return *this;
}

std::vector<std::byte> message_of(const std::vector<std::byte>& snap) {
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(), &ZSTD_freeDCtx);
  std::vector<std::byte> message(std::size_t{1} << 16);
  ZSTD_inBuffer in{snap.data(), snap.size(), 0};
  ZSTD_outBuffer out{message.data(), message.size(), 0};
  while (in.pos < in.size || out.pos == out.size) {
    if (out.pos == out.size) {
      message.resize(2 * message.size());
      out = {message.data(), message.size(), out.pos};
    }
    const std::size_t left = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(left)) throw std::runtime_error(ZSTD_getErrorName(left));
    if (in.pos == in.size && out.pos < out.size) break;
  }
  message.resize(out.pos);
  return message;
}

std::vector<std::byte> compress(std::string_view message) {
  const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(), &ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  std::vector<std::byte> out(ZSTD_compressBound(message.size()));
  const std::size_t size =
      ZSTD_compress2(context.get(), out.data(), out.size(), message.data(), message.size());
  if (ZSTD_isError(size)) throw std::runtime_error(ZSTD_getErrorName(size));
  out.resize(size);
  return out;
}

std::vector<std::byte> head_frame(std::uint64_t message_bytes, std::uint32_t version) {
  return frame(0x184D2A5A, 32, version, message_bytes);
}

std::vector<std::byte> tail_frame(const container::Totals& totals, std::uint32_t version) {
  auto bytes = frame(0x184D2A5B, 64, version, totals.message_bytes);
  container::store(&bytes[32], totals.records);
  container::store(&bytes[40], totals.samples);
  container::store(&bytes[48], totals.locations);
  container::store(&bytes[56], totals.modules);
  return bytes;
}

std::vector<std::byte> join(const std::vector<std::vector<std::byte>>& parts) {
  std::vector<std::byte> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

std::string_view text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

}  // namespace memtrace::test
