// Without this, a module with less than full debug information would show nothing where a name was to be had,
// and a damaged file would take the analyzer down with it.
#include "analyzer/symbols/module_symbols.hpp"

#include <random>

#include "tests/programs/symbols/victims.hpp"

namespace memtrace {
namespace {

using victims::TempDir;

std::string read_file(const std::string& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

std::string outer_name(const std::string& file, std::uint64_t offset) {
  const auto symbolizer = victims::offline_symbolizer();
  const auto& frames = symbolizer->resolve(victims::module_at(file), offset);
  if (frames.empty()) return "";
  CHECK(frames.size() == 1);
  CHECK(frames[0].file.empty());
  CHECK(frames[0].line == 0);
  CHECK(!frames[0].inlined);
  return frames[0].function;
}

// Asks a damaged file about a few addresses. What it answers does not matter.
void ask(const std::string& path, std::uint64_t offset) {
  const auto symbolizer = victims::offline_symbolizer();
  const Module module = victims::module_at(path, "");
  for (std::uint64_t step = 0; step < 160; step += 32) (void)symbolizer->resolve(module, offset + step);
  (void)symbolizer->notes();
}

}  // namespace

TEST_CASE("without DWARF names come from .symtab, then .gnu_debugdata, then .dynsym") {
  const TempDir dir;
  const auto probes = victims::probes("library_no_debug.so");
  const std::string full = victims::path("library_no_debug.so");
  CHECK(outer_name(full, probes.at("leaf")) == "victim::outer(int)");
  CHECK(outer_name(full, probes.at("hidden")) == "victim::(anonymous namespace)::hidden(int)");
  CHECK(outer_name(full, probes.at("c_name")) == "plain_c_name");

  victims::run("strip " + full + " -o " + (dir / "stripped.so"));
  CHECK(outer_name(dir / "stripped.so", probes.at("leaf")) == "victim::outer(int)");
  CHECK(outer_name(dir / "stripped.so", probes.at("hidden")) == "");

  victims::run("objcopy --only-keep-debug " + full + " " + (dir / "mini") + " && xz -k " + (dir / "mini"));
  victims::run("objcopy --add-section .gnu_debugdata=" + (dir / "mini.xz") + " " + (dir / "stripped.so") +
               " " + (dir / "mini.so"));
  CHECK(outer_name(dir / "mini.so", probes.at("hidden")) == "victim::(anonymous namespace)::hidden(int)");
}

TEST_CASE("without any symbol there are no frames") {
  const TempDir dir;
  victims::run("g++ -std=c++20 -O2 -fno-ident -DVICTIM_LINKED_IN -Wl,--build-id " + victims::kSources +
               "runner.cpp " + victims::kSources + "chain.cpp -s -o " + (dir / "bare"));
  CHECK(outer_name(dir / "bare", 0x1297) == "");
}

TEST_CASE("a segment mapped elsewhere in the file than in memory is found by the program headers") {
  const TempDir dir;
  victims::run("g++ -std=c++20 -O2 -g -shared -fPIC -Wl,--build-id -Wl,-Ttext=0x345010 " + victims::kSources +
               "chain.cpp -o " + (dir / "moved.so"));
  const auto file = victims::open_elf(dir / "moved.so");
  const auto symbolizer = victims::offline_symbolizer();
  const Module module = victims::module_at(dir / "moved.so");
  const std::uint64_t size = std::filesystem::file_size(dir / "moved.so");
  std::size_t found = 0;
  bool apart = false;
  for (std::uint64_t offset = 0; offset < size; ++offset) {
    const auto vaddr = file->vaddr_of(offset);
    apart = apart || (vaddr && *vaddr >= 0x345010 && *vaddr != offset);
    if (symbolizer->resolve(module, offset).size() == 3) ++found;
  }
  CHECK(apart);
  CHECK(found > 5);
}

TEST_CASE("debug information made to exhaust its reader is survived") {
  const TempDir dir;
  // One unit, one function over all code, and inside it a hundred thousand nested entries. Tags and a
  // self-reference: DW_TAG_lexical_block without code, DW_TAG_inlined_subroutine that is everywhere and its
  // own origin.
  const std::string nested =
      GENERATE(".uleb128 3\n", ".uleb128 4\n.quad start\n.quad 64\n.long self - .Linfo\n");
  std::ofstream source(dir / "deep.s");
  source << R"(
.text
.globl start
.type start,@function
start: .skip 64
.size start, 64
.section .debug_abbrev,"",@progbits
.uleb128 1, 0x11, 1, 0x11, 0x1, 0x12, 0x7, 0, 0
.uleb128 2, 0x2e, 1, 0x03, 0x8, 0x11, 0x1, 0x12, 0x7, 0, 0
.uleb128 3, 0x0b, 1, 0, 0
.uleb128 4, 0x1d, 1, 0x11, 0x1, 0x12, 0x7, 0x31, 0x13, 0, 0
.byte 0
.section .debug_info,"",@progbits
.Linfo:
.long .Lend - .Lbegin
.Lbegin:
.short 4
.long 0
.byte 8
.uleb128 1
.quad start, 64
.uleb128 2
.asciz "deep"
.quad start, 64
self:
)";
  for (int i = 0; i < 100000; ++i) source << nested;
  source << ".Lend:\n.section .note.GNU-stack,\"\",@progbits\n";
  source.close();
  victims::run("cd " + dir.path() + " && as deep.s -o deep.o && ld -shared --build-id deep.o -o deep.so");
  const auto symbolizer = victims::offline_symbolizer();
  const Module module = victims::module_at(dir / "deep.so");
  std::size_t found = 0;
  for (std::uint64_t offset = 0; offset < 0x2000; ++offset) {
    const auto& frames = symbolizer->resolve(module, offset);
    if (frames.empty() || frames.back().function != "deep") continue;
    ++found;
    CHECK(frames.size() < 1000);
  }
  CHECK(found == 64);
}

TEST_CASE("truncated files are survived") {
  const TempDir dir;
  const std::string name = GENERATE("library.so", "dwarf4", "compressed");
  const std::string bytes = read_file(victims::path(name));
  const std::uint64_t offset = victims::probes(name).at("leaf");
  for (std::size_t size = 0; size < bytes.size(); size += 61) {
    std::ofstream(dir / "cut", std::ios::binary | std::ios::trunc)
        .write(bytes.data(), static_cast<long>(size));
    ask(dir / "cut", offset);
  }
}

TEST_CASE("damaged files are survived") {
  const TempDir dir;
  const std::string name = GENERATE("library.so", "dwarf4", "dwarf5", "types", "compressed", "split5", "lto");
  const std::string bytes = read_file(victims::path(name));
  const std::uint64_t offset = victims::probes(name).at("leaf");
  for (unsigned seed = 0; seed < 1000; ++seed) {
    std::mt19937 random(seed);
    std::string damaged = bytes;
    // Most of a file is padding and code: every other time all damage goes where the debug information is.
    const std::size_t low = seed % 2 == 0 ? 0 : 0x3000;
    std::uniform_int_distribution<std::size_t> position(low, damaged.size() - 1);
    const unsigned count = 1U << (seed % 8);
    for (unsigned i = 0; i < count; ++i) {
      char& byte = damaged[position(random)];
      const auto noise = static_cast<unsigned>(random());
      byte = static_cast<char>(seed % 3 == 0 ? noise : static_cast<unsigned char>(byte) ^ (1U << noise % 8));
    }
    std::ofstream(dir / "damaged", std::ios::binary | std::ios::trunc)
        .write(damaged.data(), static_cast<long>(damaged.size()));
    INFO(name << " seed " << seed);
    ask(dir / "damaged", offset);
  }
}

}  // namespace memtrace
