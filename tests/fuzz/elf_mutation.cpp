#include "tests/fuzz/elf_mutation.hpp"

#include <elf.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

namespace memtrace::fuzz {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::size_t kMostInflated = 1 << 20;
constexpr std::size_t kMostFile = 1 << 16;

template <class T>
std::optional<T> load(const Bytes& from, std::uint64_t at) {
  if (at > from.size() || from.size() - at < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, from.data() + at, sizeof value);
  return value;
}

template <class T>
void store(Bytes& to, std::uint64_t at, const T& value) {
  std::memcpy(to.data() + at, &value, sizeof value);
}

struct Section {
  std::uint64_t header_at = 0;
  Elf64_Shdr header{};
  std::string_view name{};  // in the file's bytes
};

std::vector<Section> sections_of(const Bytes& file) {
  std::vector<Section> sections;
  const auto head = load<Elf64_Ehdr>(file, 0);
  if (!head || std::memcmp(head->e_ident, ELFMAG, SELFMAG) != 0) return sections;
  for (std::uint64_t i = 0; i < head->e_shnum; ++i) {
    const std::uint64_t at = head->e_shoff + i * sizeof(Elf64_Shdr);
    const auto header = load<Elf64_Shdr>(file, at);
    if (!header) break;
    sections.push_back({.header_at = at, .header = *header});
  }
  if (head->e_shstrndx >= sections.size()) return sections;
  const Elf64_Shdr& names = sections[head->e_shstrndx].header;
  for (Section& section : sections) {
    const std::uint64_t at = names.sh_offset + section.header.sh_name;
    if (at >= file.size()) continue;
    const auto* text = reinterpret_cast<const char*>(file.data() + at);
    section.name = {text, strnlen(text, file.size() - at)};
  }
  return sections;
}

bool is_inside(const Bytes& file, const Elf64_Shdr& header) {
  return header.sh_type != SHT_NOBITS && header.sh_size != 0 && header.sh_offset <= file.size() &&
         file.size() - header.sh_offset >= header.sh_size;
}

std::uint64_t edge(Random& random) {
  constexpr std::array<std::uint64_t, 12> kEdges = {
      0,         1, 4, 0x7f, 0x80, 0xff, 0xffff, INT32_MAX, UINT32_MAX, INT64_MAX, std::uint64_t{1} << 63,
      UINT64_MAX};
  return kEdges[random() % kEdges.size()];
}

void change(std::span<std::byte> bytes, Random& random) {
  do {
    const std::size_t at = random() % bytes.size();
    const std::size_t room = std::min<std::size_t>(bytes.size() - at, std::size_t{1} << random() % 4);
    const std::uint64_t value = edge(random);
    switch (random() % 5) {
      case 0:
        bytes[at] = static_cast<std::byte>(random() >> 8);
        break;
      case 1:
        bytes[at] ^= static_cast<std::byte>(1U << random() % 8);
        break;
      case 2:
        std::memcpy(&bytes[at], &value, room);
        break;
      case 3:
        bytes[at] = static_cast<std::byte>(static_cast<unsigned>(bytes[at]) + random() % 9 - 4);
        break;
      default:
        std::memmove(&bytes[at], &bytes[random() % (bytes.size() - room + 1)], room);
    }
  } while (random() % 2 == 0);
}

std::optional<Bytes> inflate(std::span<const std::byte> stored, const Elf64_Chdr& header) {
  if (header.ch_size == 0 || header.ch_size > kMostInflated) return std::nullopt;
  Bytes bytes(header.ch_size);
  if (header.ch_type == 1) {
    uLongf size = bytes.size();
    const int result = uncompress(reinterpret_cast<Bytef*>(bytes.data()), &size,
                                  reinterpret_cast<const Bytef*>(stored.data()), stored.size());
    if (result != Z_OK) return std::nullopt;
  } else if (ZSTD_isError(ZSTD_decompress(bytes.data(), bytes.size(), stored.data(), stored.size())) != 0) {
    return std::nullopt;
  }
  return bytes;
}

Bytes deflate(const Bytes& bytes, const Elf64_Chdr& header) {
  Bytes out(sizeof header);
  store(out, 0, header);
  if (header.ch_type == 1) {
    uLongf size = compressBound(bytes.size());
    out.resize(sizeof header + size);
    compress(reinterpret_cast<Bytef*>(out.data() + sizeof header), &size,
             reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
    out.resize(sizeof header + size);
  } else {
    out.resize(sizeof header + ZSTD_compressBound(bytes.size()));
    const std::size_t size =
        ZSTD_compress(out.data() + sizeof header, out.size() - sizeof header, bytes.data(), bytes.size(), 1);
    out.resize(sizeof header + (ZSTD_isError(size) != 0 ? 0 : size));
  }
  return out;
}

// What is inside changes, and is compressed again: in its place when it fits, else at the file's end.
bool change_inside(Bytes& file, const Section& section, Random& random) {
  const auto header = load<Elf64_Chdr>(file, section.header.sh_offset);
  if (!header || section.header.sh_size <= sizeof *header) return false;
  const auto stored =
      std::span<const std::byte>(file).subspan(section.header.sh_offset, section.header.sh_size);
  auto bytes = inflate(stored.subspan(sizeof *header), *header);
  if (!bytes) return false;
  change(*bytes, random);
  const Bytes out = deflate(*bytes, *header);
  Elf64_Shdr moved = section.header;
  if (out.size() > moved.sh_size) {
    if (file.size() + out.size() > kMostFile) return false;
    moved.sh_offset = file.size();
    file.resize(file.size() + out.size());
  }
  moved.sh_size = out.size();
  std::ranges::copy(out, file.begin() + static_cast<std::ptrdiff_t>(moved.sh_offset));
  store(file, section.header_at, moved);
  return true;
}

// What the symbolizer reads; code and the loader's tables are most of a file.
bool is_read(const Section& section) {
  return section.name.starts_with(".debug") || section.name.starts_with(".gnu_debug") ||
         section.header.sh_type == SHT_SYMTAB || section.header.sh_type == SHT_STRTAB ||
         section.header.sh_type == SHT_DYNSYM || section.header.sh_type == SHT_NOTE;
}

void change_content(Bytes& file, const std::vector<Section>& sections, Random& random) {
  const Section* chosen = nullptr;
  for (int tries = 0; tries < 8 && (chosen == nullptr || !is_read(*chosen)); ++tries)
    chosen = &sections[random() % sections.size()];
  if (!is_inside(file, chosen->header)) return;
  if ((chosen->header.sh_flags & SHF_COMPRESSED) != 0 && random() % 8 != 0 &&
      change_inside(file, *chosen, random))
    return;
  change(std::span(file).subspan(chosen->header.sh_offset, chosen->header.sh_size), random);
}

void change_segment(Bytes& file, Random& random) {
  const auto head = load<Elf64_Ehdr>(file, 0);
  if (!head || head->e_phnum == 0) return;
  const std::uint64_t at = head->e_phoff + random() % head->e_phnum * sizeof(Elf64_Phdr);
  if (load<Elf64_Phdr>(file, at)) change(std::span(file).subspan(at, sizeof(Elf64_Phdr)), random);
}

}  // namespace

bool mutate_elf(Bytes& file, Random& random) {
  const auto sections = sections_of(file);
  if (sections.empty()) return false;
  do {
    switch (random() % 16) {
      case 0:
        change(std::span(file).first(sizeof(Elf64_Ehdr)), random);
        return true;
      case 1:
        change_segment(file, random);
        break;
      case 2:
      case 3:
        change(std::span(file).subspan(sections[random() % sections.size()].header_at, sizeof(Elf64_Shdr)),
               random);
        break;
      default:
        change_content(file, sections_of(file), random);
    }
  } while (random() % 2 == 0 && !sections_of(file).empty());
  return true;
}

void correct_debug_link(Bytes& binary, const Bytes& debug_file) {
  for (const Section& section : sections_of(binary)) {
    if (section.name != ".gnu_debuglink" || !is_inside(binary, section.header) || section.header.sh_size < 4)
      continue;
    const uLong crc =
        crc32(0, reinterpret_cast<const Bytef*>(debug_file.data()), static_cast<uInt>(debug_file.size()));
    store(binary, section.header.sh_offset + section.header.sh_size - 4, static_cast<std::uint32_t>(crc));
  }
}

}  // namespace memtrace::fuzz
