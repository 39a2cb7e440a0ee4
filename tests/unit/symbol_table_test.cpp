// Without this, stripped programs would show the wrong neighbour's name, or an alias nobody wrote.
#include "analyzer/symbols/symbol_table.hpp"

#include "tests/programs/symbols/victims.hpp"

namespace memtrace {
namespace {

std::unique_ptr<ElfFile> assemble(const victims::TempDir& dir, const std::string& source) {
  std::ofstream(dir / "a.s") << source << "\n.section .note.GNU-stack,\"\",@progbits\n";
  victims::run("as " + (dir / "a.s") + " -o " + (dir / "a.o") + " && ld -shared " + (dir / "a.o") + " -o " +
               (dir / "a.so"));
  return victims::open_elf(dir / "a.so");
}

}  // namespace

TEST_CASE("the innermost covering function wins, gaps and data have no name") {
  const victims::TempDir dir;
  const auto file = assemble(dir, R"(
.text
.globl big, small, after, value
.type big,@function
big: .skip 32
.type small,@function
small: .skip 8
.size small, 8
.skip 24
.size big, 64
.skip 64
.type after,@function
after: .skip 16
.size after, 16
.data
.type value,@object
value: .skip 8
.size value, 8
)");
  const SymbolTable table(*file, SymbolSection::kSymtab);
  std::uint64_t big = 0;
  for (std::uint64_t address = 0; address < 0x10000 && big == 0; ++address) {
    if (const auto match = table.find(address)) big = match->start;
  }
  REQUIRE(big != 0);
  CHECK(table.find(big - 1) == std::nullopt);
  CHECK(table.find(big)->name == "big");
  CHECK(table.find(big + 31)->name == "big");
  CHECK(table.find(big + 32)->name == "small");
  CHECK(table.find(big + 39)->name == "small");
  CHECK(table.find(big + 40)->name == "big");
  CHECK(table.find(big + 63)->name == "big");
  CHECK(table.find(big + 64) == std::nullopt);
  CHECK(table.find(big + 128)->name == "after");
  CHECK(table.find(big + 144) == std::nullopt);
  CHECK(table.find(UINT64_MAX) == std::nullopt);
}

TEST_CASE("a symbol without size reaches to the next one but not beyond a page") {
  const victims::TempDir dir;
  const auto file = assemble(dir, R"(
.text
.globl first, second
.type first,@function
first: .skip 16
.type second,@function
second: .skip 20000
)");
  const SymbolTable table(*file, SymbolSection::kDynsym);
  std::uint64_t first = 0;
  for (std::uint64_t address = 0; address < 0x10000 && first == 0; ++address) {
    if (const auto match = table.find(address)) first = match->start;
  }
  REQUIRE(first != 0);
  CHECK(table.find(first + 15)->name == "first");
  CHECK(table.find(first + 16)->name == "second");
  CHECK(table.find(first + 16 + 4095)->name == "second");
  CHECK(table.find(first + 16 + 4096) == std::nullopt);
}

TEST_CASE("of aliases the public and plain one is shown, without its version") {
  const victims::TempDir dir;
  const auto file = assemble(dir, R"(
.text
.globl __libc_thing, thing, other_thing
.weak a
.type __libc_thing,@function
.type thing,@function
.type other_thing,@function
.type a,@function
.type local,@function
__libc_thing:
thing:
other_thing:
a:
local: .skip 16
.size __libc_thing, 16
.size thing, 16
.size other_thing, 16
.size a, 16
.size local, 16
)");
  const SymbolTable table(*file, SymbolSection::kSymtab);
  bool found = false;
  for (std::uint64_t address = 0; address < 0x10000 && !found; ++address) {
    const auto match = table.find(address);
    if (!match) continue;
    found = true;
    CHECK(match->name == "thing");
  }
  CHECK(found);
}

TEST_CASE("a file without the table has no symbols") {
  const victims::TempDir dir;
  victims::run("strip " + victims::path("pie") + " -o " + (dir / "stripped"));
  const auto file = victims::open_elf(dir / "stripped");
  CHECK(SymbolTable(*file, SymbolSection::kSymtab).empty());
  CHECK(!SymbolTable(*file, SymbolSection::kDynsym).empty());
}

}  // namespace memtrace
