#include "analyzer/symbols/inflated_debug.hpp"

#include <gelf.h>
#include <libdeflate.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <future>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "analyzer/symbols/elf_sections.hpp"

namespace memtrace {
namespace {

// What addresses, functions and lines are found by. Where variables live (.debug_loclists) is not asked for.
constexpr std::array<std::string_view, 12> kNeeded = {
    ".debug_info",        ".debug_types",    ".debug_abbrev",   ".debug_aranges",
    ".debug_line",        ".debug_line_str", ".debug_str",      ".debug_addr",
    ".debug_str_offsets", ".debug_ranges",   ".debug_rnglists", ".gnu_debugaltlink"};

constexpr std::uint32_t kZlib = 1;
constexpr std::uint32_t kZstd = 2;
// Debug information shrinks to a quarter, some of it to less; zeros to a thousandth and less.
constexpr std::uint64_t kMaxRatio = 8;
constexpr std::uint64_t kFreeBytes = std::uint64_t{64} << 20;
constexpr std::uint64_t kMaxImageBytes = std::uint64_t{1} << 36;
constexpr std::size_t kAlignment = 64;
constexpr std::size_t kWorthAThread = std::size_t{1} << 20;

struct Section {
  std::string_view name;
  std::span<const char> stored;   // without the compression header
  std::uint32_t compression = 0;  // 0: none
  std::uint64_t size = 0;         // decompressed
  std::uint64_t offset = 0;       // in the image
  GElf_Word type = 0;
};

// False: compressed in a way that is not known here, or damaged.
bool read_compression(Section& section) {
  Elf64_Chdr header;
  if (section.stored.size() < sizeof header) return false;
  std::memcpy(&header, section.stored.data(), sizeof header);
  section.stored = section.stored.subspan(sizeof header);
  section.compression = header.ch_type;
  section.size = header.ch_size;
  const bool known = header.ch_type == kZlib || header.ch_type == kZstd;
  return known;
}

// Empty when nothing is compressed, or something is in an unknown way.
std::vector<Section> needed_sections(Elf* elf) {
  std::vector<Section> sections;
  bool known = true;
  for_each_section(elf, [&](Elf_Scn* scn, const GElf_Shdr& header, std::string_view name) {
    if (std::ranges::find(kNeeded, name) == kNeeded.end()) return false;
    const Elf_Data* data = elf_rawdata(scn, nullptr);
    if (data == nullptr || data->d_buf == nullptr) return false;
    Section section{.name = name, .stored = {static_cast<const char*>(data->d_buf), data->d_size}};
    section.size = section.stored.size();
    section.type = header.sh_type;
    known = (header.sh_flags & SHF_COMPRESSED) == 0 || read_compression(section);
    sections.push_back(section);
    return !known;
  });
  if (!known) return {};
  const bool any = std::ranges::any_of(sections, [](const Section& s) { return s.compression != 0; });
  return any ? sections : std::vector<Section>();
}

bool fill(const Section& section, char* to) {
  const std::size_t stored = section.stored.size();
  switch (section.compression) {
    case 0:
      std::copy_n(section.stored.data(), stored, to);
      return true;
    case kZlib: {
      const std::unique_ptr<libdeflate_decompressor, decltype(&libdeflate_free_decompressor)> decompressor(
          libdeflate_alloc_decompressor(), &libdeflate_free_decompressor);
      return decompressor != nullptr &&
             libdeflate_zlib_decompress(decompressor.get(), section.stored.data(), stored, to, section.size,
                                        nullptr) == LIBDEFLATE_SUCCESS;
    }
    default:
      return ZSTD_decompress(to, section.size, section.stored.data(), stored) == section.size;
  }
}

// The large ones each on a thread.
bool fill_all(const std::vector<Section>& sections, char* image) {
  std::vector<std::future<bool>> work;
  for (const Section& section : sections) {
    // With both, where no thread can be had, the section is done when it is asked for.
    const auto policy =
        section.size < kWorthAThread ? std::launch::deferred : std::launch::async | std::launch::deferred;
    work.push_back(std::async(policy, [&section, image] { return fill(section, image + section.offset); }));
  }
  bool whole = true;
  for (auto& one : work) whole = one.get() && whole;
  return whole;
}

std::uint64_t aligned(std::uint64_t offset) { return (offset + kAlignment - 1) / kAlignment * kAlignment; }

// Head, sections, their names, their table.
struct Layout {
  std::vector<Section> sections;
  std::string names = std::string(1, '\0');
  std::uint64_t names_at = 0;
  std::uint64_t table_at = 0;
  std::uint64_t size = 0;
};

void write_tables(const Layout& layout, const Elf64_Ehdr& original, char* image) {
  Elf64_Ehdr head = original;
  head.e_entry = head.e_phoff = 0;
  head.e_phnum = 0;
  head.e_shoff = layout.table_at;
  head.e_shentsize = sizeof(Elf64_Shdr);
  head.e_shnum = static_cast<Elf64_Half>(layout.sections.size() + 2);
  head.e_shstrndx = static_cast<Elf64_Half>(layout.sections.size() + 1);
  std::memcpy(image, &head, sizeof head);
  std::memcpy(image + layout.names_at, layout.names.data(), layout.names.size());
  std::vector<Elf64_Shdr> table(1);
  for (const Section& section : layout.sections) {
    Elf64_Shdr entry{};
    entry.sh_name = static_cast<Elf64_Word>(layout.names.find(std::string(section.name) + '\0'));
    entry.sh_type = section.type;
    entry.sh_offset = section.offset;
    entry.sh_size = section.size;
    entry.sh_addralign = 1;
    table.push_back(entry);
  }
  Elf64_Shdr names{};
  names.sh_type = SHT_STRTAB;
  names.sh_offset = layout.names_at;
  names.sh_size = layout.names.size();
  names.sh_addralign = 1;
  table.push_back(names);
  std::memcpy(image + layout.table_at, table.data(), table.size() * sizeof table[0]);
}

std::uint64_t add_saturating(std::uint64_t a, std::uint64_t b) {
  return b > UINT64_MAX - a ? UINT64_MAX : a + b;
}

// 0: it is not compressed.
std::uint64_t claimed_size(Elf_Scn* scn, const GElf_Shdr& header, std::string_view name,
                           std::string_view stored) {
  // An older way of compressing has a name for it, and the size in big-endian after a word.
  constexpr std::string_view kOldPrefix = ".zdebug";
  constexpr std::string_view kOldMagic = "ZLIB";
  std::uint64_t size = 0;
  if ((header.sh_flags & SHF_COMPRESSED) != 0) {
    GElf_Chdr compression;
    return gelf_getchdr(scn, &compression) != nullptr ? compression.ch_size : 0;
  }
  if (name.starts_with(kOldPrefix) && stored.starts_with(kOldMagic) &&
      stored.size() >= kOldMagic.size() + sizeof size) {
    for (std::size_t i = 0; i < sizeof size; ++i)
      size = size << 8 | static_cast<unsigned char>(stored[kOldMagic.size() + i]);
  }
  return size;
}

// visit(name, bytes stored, bytes claimed, 0 where it is not compressed)
template <class Visit>
void for_each_content(Elf* elf, Visit visit) {
  for_each_section(elf, [&](Elf_Scn* scn, const GElf_Shdr& header, std::string_view name) {
    const Elf_Data* data = elf_rawdata(scn, nullptr);
    if (data == nullptr || data->d_buf == nullptr) return false;
    const std::string_view stored(static_cast<const char*>(data->d_buf), data->d_size);
    visit(name, stored.size(), claimed_size(scn, header, name, stored));
    return false;
  });
}

}  // namespace

Inflation inflation_of(const ElfFile& file) {
  Inflation inflation;
  std::uint64_t allowed = kFreeBytes;
  for_each_content(file.elf(), [&](std::string_view, std::uint64_t stored, std::uint64_t claimed) {
    if (claimed == 0) return;
    allowed += kMaxRatio * stored;
    inflation.bytes = add_saturating(inflation.bytes, claimed);
  });
  inflation.beyond_measure = inflation.bytes > allowed;
  return inflation;
}

std::uint64_t inflated_bytes(const ElfFile& file, std::string_view name) {
  std::uint64_t bytes = 0;
  for_each_content(file.elf(), [&](std::string_view section, std::uint64_t stored, std::uint64_t claimed) {
    if (section.ends_with(name)) bytes = add_saturating(bytes, claimed != 0 ? claimed : stored);
  });
  return bytes;
}

std::unique_ptr<ElfFile> inflate_debug_sections(const ElfFile& file) {
  const Elf64_Ehdr* head = elf64_getehdr(file.elf());
  if (head == nullptr || head->e_ident[EI_DATA] != ELFDATA2LSB) return nullptr;
  Layout layout;
  layout.sections = needed_sections(file.elf());
  if (layout.sections.empty() || layout.sections.size() > kNeeded.size()) return nullptr;
  layout.size = aligned(sizeof(Elf64_Ehdr));
  for (Section& section : layout.sections) {
    section.offset = layout.size;
    if (section.size > kMaxImageBytes) return nullptr;
    layout.size = aligned(layout.size + section.size);
    layout.names += std::string(section.name) + '\0';
  }
  if (layout.size > kMaxImageBytes) return nullptr;
  layout.names_at = layout.size;
  layout.table_at = aligned(layout.names_at + layout.names.size());
  layout.size = layout.table_at + (layout.sections.size() + 2) * sizeof(Elf64_Shdr);
  ElfFile::Image image(layout.size);
  if (image.size() == 0 || !fill_all(layout.sections, image.bytes())) return nullptr;
  write_tables(layout, *head, image.bytes());
  return ElfFile::from_memory(std::move(image), file.path());
}

}  // namespace memtrace
