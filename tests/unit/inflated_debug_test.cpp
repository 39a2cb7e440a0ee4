// Without this, memdiff would read other debug information than the compiler wrote, or a file that claims to
// hold terabytes would take all memory.
#include "analyzer/symbols/inflated_debug.hpp"

#include <elf.h>

#include <algorithm>
#include <cstring>

#include "tests/programs/symbols/victims.hpp"

namespace memtrace {
namespace {

using victims::TempDir;

std::string bytes_of(const ElfFile& file, const char* section) {
  const Elf_Data* data = file.section(section);
  return data == nullptr ? "none" : std::string(static_cast<const char*>(data->d_buf), data->d_size);
}

std::string read_file(const std::string& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

// Where the compression header of .debug_info lies in the file.
std::size_t compression_header(const std::string& file) {
  Elf64_Ehdr head;
  std::memcpy(&head, file.data(), sizeof head);
  const auto section = [&](std::size_t index) {
    Elf64_Shdr header;
    std::memcpy(&header, file.data() + head.e_shoff + index * sizeof header, sizeof header);
    return header;
  };
  for (std::size_t i = 0; i < head.e_shnum; ++i) {
    const char* name = file.data() + section(head.e_shstrndx).sh_offset + section(i).sh_name;
    if (std::string(name) == ".debug_info") return section(i).sh_offset;
  }
  FAIL("no .debug_info");
  return 0;
}

}  // namespace

TEST_CASE("every section that is read comes out as it was before compression") {
  const TempDir dir;
  const std::string kind = GENERATE("zlib", "zstd");
  const std::string name = GENERATE("dwarf4", "dwarf5", "types", "clang");
  if (!victims::exists(name)) return;
  INFO(name << " " << kind);
  const std::string plain = victims::path(name);
  victims::run("objcopy --compress-debug-sections=" + kind + " " + plain + " " + (dir / "compressed"));
  const auto before = victims::open_elf(plain);
  const auto inflated = inflate_debug_sections(*victims::open_elf(dir / "compressed"));
  REQUIRE(inflated != nullptr);
  for (const char* section :
       {".debug_info", ".debug_types", ".debug_abbrev", ".debug_aranges", ".debug_line", ".debug_line_str",
        ".debug_str", ".debug_addr", ".debug_str_offsets", ".debug_ranges", ".debug_rnglists"}) {
    INFO(section);
    CHECK(bytes_of(*inflated, section) == bytes_of(*before, section));
  }
  CHECK(bytes_of(*inflated, ".debug_info") != "none");
  CHECK(bytes_of(*inflated, ".text") == "none");
}

TEST_CASE("what is not compressed is left to libdw") {
  CHECK(inflate_debug_sections(*victims::open_elf(victims::path("pie"))) == nullptr);
  CHECK(inflate_debug_sections(*victims::open_elf(victims::path("no_debug"))) == nullptr);
}

TEST_CASE("a compression header that lies is refused") {
  const TempDir dir;
  std::string bytes = read_file(victims::path("compressed"));
  Elf64_Chdr header;
  const std::size_t at = compression_header(bytes);
  std::memcpy(&header, bytes.data() + at, sizeof header);
  const auto refused = [&](const Elf64_Chdr& lie) {
    std::memcpy(bytes.data() + at, &lie, sizeof lie);
    std::ofstream(dir / "lying", std::ios::binary) << bytes;
    return inflate_debug_sections(*victims::open_elf(dir / "lying")) == nullptr;
  };
  CHECK_FALSE(refused(header));
  for (const std::uint64_t size :
       {header.ch_size - 1, header.ch_size + 1, std::uint64_t{1} << 30, std::uint64_t{1} << 62, UINT64_MAX}) {
    Elf64_Chdr lie = header;
    lie.ch_size = size;
    INFO(size);
    CHECK(refused(lie));
  }
  Elf64_Chdr lie = header;
  lie.ch_type = 99;
  CHECK(refused(lie));
}

TEST_CASE("split files beside a compressed program are found") {
  const TempDir dir;
  // Compiled elsewhere, so that only the place beside the program leads to the split file.
  victims::run("mkdir " + (dir / "build") + " " + (dir / "moved") + " && cd " + (dir / "build") +
               " && g++ -c -O2 -gdwarf-5 -gsplit-dwarf -fPIC -std=c++20 " + victims::kSources +
               "chain.cpp -o chain.o && g++ -shared -Wl,--build-id chain.o -o library.so && "
               "objcopy --compress-debug-sections library.so ../moved/library.so && mv chain.dwo ../moved");
  const std::string moved = dir / "moved/library.so";
  const auto symbolizer = victims::offline_symbolizer();
  const Module module = victims::module_at(moved);
  std::size_t longest = 0;
  for (std::uint64_t offset = 0x1000; offset < 0x1400; ++offset)
    longest = std::max(longest, symbolizer->resolve(module, offset).size());
  CHECK(longest == 3);  // inlined functions are in the split file alone
  CHECK(victims::joined_notes(*symbolizer).empty());
}

}  // namespace memtrace
