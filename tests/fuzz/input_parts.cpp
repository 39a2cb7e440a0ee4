#include "tests/fuzz/input_parts.hpp"

#include <algorithm>

#include "format/container.hpp"

namespace memtrace::fuzz {

InputParts InputParts::parse(std::span<const std::uint8_t> bytes) {
  InputParts parts;
  const std::size_t settings = std::min(bytes.size(), parts.settings.size());
  std::copy_n(bytes.begin(), settings, parts.settings.begin());
  bytes = bytes.subspan(settings);
  if (bytes.size() < sizeof(std::uint32_t)) return parts;
  const auto rest = std::as_bytes(bytes.subspan(sizeof(std::uint32_t)));
  const auto size =
      std::min<std::size_t>(container::load<std::uint32_t>(std::as_bytes(bytes).data()), rest.size());
  parts.first.assign(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(size));
  parts.second.assign(rest.begin() + static_cast<std::ptrdiff_t>(size), rest.end());
  return parts;
}

std::vector<std::uint8_t> InputParts::bytes() const {
  std::vector<std::uint8_t> bytes(settings.begin(), settings.end());
  std::array<std::byte, sizeof(std::uint32_t)> size{};
  container::store(size.data(), static_cast<std::uint32_t>(first.size()));
  const auto append = [&](std::span<const std::byte> part) {
    for (const std::byte b : part) bytes.push_back(static_cast<std::uint8_t>(b));
  };
  append(size);
  append(first);
  append(second);
  return bytes;
}

}  // namespace memtrace::fuzz
