// Would break: memdiff taking all memory or hours for a small file whose debug information points to itself,
// or claims to hold terabytes.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>

#include "analyzer/symbols/dwarf_lines.hpp"
#include "analyzer/symbols/elf_symbolizer.hpp"
#include "analyzer/symbols/inflated_debug.hpp"
#include "analyzer/symbols/module_symbols.hpp"
#include "analyzer/symbols/symbol_table.hpp"
#include "analyzer/symbols/work_left.hpp"
#include "tests/programs/symbols/victims.hpp"

namespace memtrace {
namespace {

using victims::TempDir;

// Made from assembly text.
std::unique_ptr<ElfFile> assembled(const TempDir& dir, const std::string& text,
                                   const std::string& compression = "none") {
  std::ofstream(dir / "a.s") << text;
  victims::run("gcc -shared -nostdlib -Wl,--build-id " + (dir / "a.s") + " -o " + (dir / "a.so") +
               " && objcopy --compress-debug-sections=" + compression + " " + (dir / "a.so"));
  return victims::open_elf(dir / "a.so");
}

// Once, with the file, the cause and the next step.
void check_told(const std::vector<std::string>& notes, const std::string& path) {
  const auto tells = [](const std::string& note) {
    return note.find("were left out; ") != std::string::npos;
  };
  REQUIRE(std::ranges::count_if(notes, tells) == 1);
  const std::string& note = *std::ranges::find_if(notes, tells);
  CHECK_THAT(note, Catch::StartsWith(path + ": ") && Catch::Contains("--debug-path"));
}

// One unit from `from` to g with `entries` inside, whose abbreviations are 2: a namespace with a sibling, 3:
// a function with ranges, 4: the same inlined, and 5: a function from f to g with entries inside.
std::string one_unit(const std::string& entries, const std::string& from = "f") {
  return R"(.text
f: .skip 1024
g:
.section .debug_abbrev,"",@progbits
.byte 1,0x11,1, 0x11,1, 0x12,1, 0,0
.byte 2,0x39,1, 0x01,0x13, 0,0
.byte 3,0x2e,0, 0x55,0x17, 0,0
.byte 4,0x1d,0, 0x55,0x17, 0,0
.byte 5,0x2e,1, 0x11,1, 0x12,1, 0,0
.byte 0
.section .debug_ranges,"",@progbits
ranges: .rept 1000
.quad 100, 101
.endr
.quad 0, 0
.section .debug_info,"",@progbits
unit: .long end - start
start: .value 4
.long 0
.byte 8
.byte 1
)"
         ".quad " +
         from + ", g\n" + entries + ".byte 0\nend:\n";
}

}  // namespace

TEST_CASE("work that is used up stays so") {
  WorkLeft work(100);
  CHECK(work.left() == WorkLeft::kFree + 100 * WorkLeft::kForEachByte);
  CHECK(work.take());
  CHECK_FALSE(work.take(work.left()));
  CHECK_FALSE(work.take());
  CHECK_FALSE(work.take(0));
}

TEST_CASE("entries that are their own siblings' children are walked within the file's work") {
  const TempDir dir;
  // Each is entered as the child and as the sibling of the one before: 2^48 ways.
  std::string entries;
  for (int i = 0; i < 48; ++i) {
    entries += fmt::format("e{}: .byte 2\n.long e{} - unit\n", i, i + 1);
  }
  const auto file = assembled(dir, one_unit(entries + "e48: .byte 2\n.long end - 1 - unit\n"));
  const auto lines = DwarfLines::open(*file, nullptr);
  REQUIRE(lines != nullptr);
  CHECK(lines->resolve(*file->code_vaddr() + 8).frames.empty());
  CHECK(lines->work_left() == 0);
}

TEST_CASE("ranges that are shared by all functions are read within the file's work") {
  const TempDir dir;
  const auto file = assembled(dir, one_unit(".rept 20000\n.byte 3\n.long 0\n.endr\n"));
  const auto lines = DwarfLines::open(*file, nullptr);
  REQUIRE(lines != nullptr);
  CHECK(lines->resolve(*file->code_vaddr() + 8).frames.empty());  // 20 million ranges
  CHECK(lines->work_left() == 0);
}

TEST_CASE("inlined functions are searched within the file's work") {
  const TempDir dir;
  const auto file =
      assembled(dir, one_unit(".byte 5\n.quad f, g\n.rept 20000\n.byte 4\n.long 0\n.endr\n.byte 0\n"));
  const auto lines = DwarfLines::open(*file, nullptr);
  REQUIRE(lines != nullptr);
  for (std::uint64_t i = 0; i < 60; ++i) CHECK(lines->resolve(*file->code_vaddr() + i).frames.size() <= 1);
  CHECK(lines->work_left() == 0);
}

TEST_CASE("who has used it up is told so, once for a file, whichever thread did it") {
  const TempDir dir;
  const std::size_t asked = GENERATE(std::size_t{1}, std::size_t{1000});  // those on all processors
  CAPTURE(asked);
  // Only the last thread's part lies in the unit.
  const auto file = assembled(dir, one_unit(".rept 20000\n.byte 3\n.long 0\n.endr\n", "f + 990"));
  const Module module = victims::module_at(file->path());
  const auto symbolizer = victims::offline_symbolizer();
  std::vector<Symbolizer::Question> questions;
  for (std::size_t i = 0; i < asked; ++i) questions.push_back({&module, *file->code_vaddr() + 999 - i});
  symbolizer->prepare(questions, [] {});
  check_told(symbolizer->notes(), file->path());
}

TEST_CASE("honest files use little of it") {
  const auto file = victims::open_elf(victims::path("dwarf5"));
  const auto lines = DwarfLines::open(*file, nullptr);
  REQUIRE(lines != nullptr);
  const auto before = lines->work_left();
  for (std::uint64_t i = 0; i < 4096; ++i) (void)lines->resolve(*file->code_vaddr() + i);
  INFO(before - lines->work_left() << " of " << before);
  CHECK(before - lines->work_left() < before / 20);
}

TEST_CASE("compressed sections that claim too much are left alone") {
  const TempDir dir;
  for (const std::string kind : {"zlib", "zlib-gnu", "zstd"}) {
    INFO(kind);
    const auto with = [&](const std::string& megabytes) {
      std::ofstream(dir / "z.s") << ".section .debug_info,\"\",@progbits\n.skip " + megabytes + " << 20\n";
      victims::run("gcc -c " + (dir / "z.s") + " -o " + (dir / "z.o") +
                   " && objcopy --compress-debug-sections=" + kind + " " + (dir / "z.o"));
      return inflation_of(*victims::open_elf(dir / "z.o")).beyond_measure;
    };
    CHECK_FALSE(with("60"));
    CHECK(with("80"));
  }
  CHECK_FALSE(inflation_of(*victims::open_elf(victims::path("compressed"))).beyond_measure);
  CHECK_FALSE(inflation_of(*victims::open_elf(victims::path("pie"))).beyond_measure);
}

TEST_CASE("a line program that would take gigabytes is not read") {
  const TempDir dir;
  const std::string compression = GENERATE("none", "zlib", "zlib-gnu");
  CAPTURE(compression);
  // Of a function that is inlined into another, whose own place is that of the call.
  const auto frames_for = [&](const std::string& megabytes) {
    const auto file = assembled(dir, R"(.text
f: .skip 64
g:
.section .debug_abbrev,"",@progbits
.byte 1,0x11,1, 0x11,1, 0x12,1, 0x10,0x17, 0,0
.byte 2,0x2e,1, 0x11,1, 0x12,1, 0,0
.byte 3,0x1d,0, 0x11,1, 0x12,1, 0x58,0x0b, 0x59,0x0b, 0,0
.byte 0
.section .debug_info,"",@progbits
.long end - start
start: .value 4
.long 0
.byte 8
.byte 1
.quad f, g
.long 0
.byte 2
.quad f, g
.byte 3
.quad f, g
.byte 1, 7
.byte 0, 0
end:
.section .debug_line,"",@progbits
.long line_end - line_start
line_start: .value 4
.long head_end - head_start
head_start: .byte 1, 1, 1, -5, 14, 13
.byte 0,1,1,1,1,0,0,0,1,0,0,1
.byte 0
.asciz "a.c"
.byte 0,0,0
.byte 0
head_end: .byte 0, 9, 2
.quad f
.byte 0x13
.fill )" + megabytes + " << 20, 1, 0x13\n.byte 2, 64, 0, 1, 1\nline_end:\n",
                                compression);
    const auto lines = DwarfLines::open(*file, nullptr);
    REQUIRE(lines != nullptr);
    auto frames = lines->resolve(*file->code_vaddr() + 8).frames;
    REQUIRE(frames.size() == 2);
    CHECK(lines->gave_up() == (megabytes != "0"));
    return frames;
  };
  const auto small = frames_for("0");
  CHECK(small[0].line == 2);
  CHECK(small[1].file.ends_with("a.c"));
  CHECK(small[1].line == 7);
  const auto large = frames_for("49");
  CHECK(large[0].line == 0);
  CHECK(large[1].file.empty());
  CHECK(large[1].line == 7);
}

TEST_CASE("a file of very many sections is refused") {
  const TempDir dir;
  const auto with = [&](const std::string& sections) {
    std::ofstream(dir / "s.s")
        << ".altmacro\n.macro one n\n.section .s\\n,\"\",@progbits\n.byte 1\n.endm\n.set i,0\n.rept " +
               sections + "\none %i\n.set i,i+1\n.endr\n";
    victims::run("gcc -c " + (dir / "s.s") + " -o " + (dir / "s.o"));
    return ElfFile::open(dir / "s.o");
  };
  CHECK(with("4000").ok());
  const auto refused = with("4100");
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error() == "has too many sections");
}

TEST_CASE("names and paths are cut, for they are copied at every address") {
  const TempDir dir;
  const auto file =
      assembled(dir, ".text\n.globl " + std::string(100'000, 'a') + "\n.type " + std::string(100'000, 'a') +
                         ",@function\n" + std::string(100'000, 'a') + ": .skip 64\n");
  const SymbolTable table(*file, SymbolSection::kSymtab);
  const auto match = table.find(*file->code_vaddr() + 8);
  REQUIRE(match);
  CHECK(match->name.size() == 16 << 10);

  const Module module = victims::module_at(file->path());
  DebugFiles files({.sysroot = {}, .debug_paths = {}, .debuginfod = false});
  ModuleSymbols symbols(module, files);
  constexpr std::size_t kGigabyte = std::size_t{1} << 30;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < 70'000; ++i) {
    for (const SourceFrame& frame : symbols.resolve(module, *file->code_vaddr() + 8))
      bytes += frame.function.size();
  }
  CHECK(bytes == kGigabyte);
  check_told(symbols.notes(), file->path());
}

}  // namespace memtrace
