// Without this, an address in the middle of a function could get its neighbour's line or an inline chain that
// is not there; addr2line, an independent reader, is asked for the same addresses.
#include "analyzer/symbols/dwarf_lines.hpp"

#include <algorithm>

#include "analyzer/symbols/symbol_table.hpp"
#include "tests/programs/symbols/victims.hpp"

namespace memtrace {
namespace {

struct Answer {
  std::string function;
  std::string file;
  std::uint32_t line = 0;
};

std::string normalised(const std::string& file) {
  return std::filesystem::path(file).lexically_normal().string();
}

// "0x...\nfunction\nfile:line (discriminator 1)\n" and again function and line for each inlining function.
std::vector<std::vector<Answer>> ask_addr2line(const std::string& file,
                                               const std::vector<std::uint64_t>& addresses) {
  const victims::TempDir dir;
  std::ofstream list(dir / "addresses");
  for (const std::uint64_t address : addresses) list << std::hex << "0x" << address << '\n';
  list.close();
  std::istringstream lines(
      victims::output_of("addr2line -a -i -f -C -e " + file + " < " + (dir / "addresses")));
  std::vector<std::vector<Answer>> answers;
  std::string line;
  while (std::getline(lines, line)) {
    if (line.starts_with("0x")) {
      answers.emplace_back();
      continue;
    }
    Answer answer;
    answer.function = line;
    std::getline(lines, line);
    const std::size_t colon = line.rfind(':');
    answer.file = normalised(line.substr(0, colon));
    answer.line = static_cast<std::uint32_t>(std::strtoul(line.c_str() + colon + 1, nullptr, 10));
    REQUIRE(!answers.empty());
    answers.back().push_back(answer);
  }
  return answers;
}

// The name alone: g++ leaves out linkage names of static functions, so the rest may differ.
std::string bare(std::string name) {
  if (name.find("operator()") != std::string::npos) return "operator()";
  const std::string hidden = "(anonymous namespace)::";
  const std::size_t start = name.find(hidden);
  if (start != std::string::npos) name.erase(0, start + hidden.size());
  name.resize(std::min(name.find('('), name.size()));
  const std::size_t colon = name.rfind("::");
  return colon == std::string::npos ? name : name.substr(colon + 2);
}

}  // namespace

TEST_CASE("every byte of the code gets addr2line's answer") {
  // Not those that addr2line 2.40 itself gets wrong: type units, split files, link-time optimisation.
  const std::string name = GENERATE("pie", "no_pie", "dwarf4", "dwarf5", "library.so", "clang");
  if (!victims::exists(name)) return;
  INFO(name);
  const auto file = victims::open_elf(victims::path(name));
  const auto lines = DwarfLines::open(*file, nullptr);
  REQUIRE(lines != nullptr);
  const SymbolTable symbols(*file, SymbolSection::kSymtab);
  std::vector<std::uint64_t> addresses;
  std::vector<std::vector<SourceFrame>> ours;
  for (std::uint64_t offset = 0; offset < 0x3000; ++offset) {
    // Padding between functions belongs to none; addr2line takes the one before.
    const auto vaddr = file->vaddr_of(offset);
    if (!vaddr || !symbols.find(*vaddr)) continue;
    auto answer = lines->resolve(*vaddr);
    if (answer.frames.empty()) continue;
    addresses.push_back(*vaddr);
    ours.push_back(std::move(answer.frames));
  }
  REQUIRE(addresses.size() > 250);
  const auto theirs = ask_addr2line(victims::path(name), addresses);
  REQUIRE(theirs.size() == addresses.size());
  std::size_t longest = 0;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    INFO("address " << std::hex << addresses[i]);
    REQUIRE(ours[i].size() == theirs[i].size());
    longest = std::max(longest, ours[i].size());
    for (std::size_t frame = 0; frame < ours[i].size(); ++frame) {
      INFO("frame " << frame << ": " << ours[i][frame].function << " or " << theirs[i][frame].function);
      // Of an inlined function without linkage name addr2line tells the name of the one around it.
      if (!ours[i][frame].inlined || theirs[i][frame].function != theirs[i].back().function) {
        CHECK(bare(ours[i][frame].function) == bare(theirs[i][frame].function));
      }
      CHECK(ours[i][frame].line == theirs[i][frame].line);
      CHECK(ours[i][frame].file == theirs[i][frame].file);
      CHECK(ours[i][frame].inlined == (frame + 1 < ours[i].size()));
    }
  }
  CHECK(longest == 3);
}

TEST_CASE("files without DWARF are refused") {
  const auto file = victims::open_elf(victims::path("no_debug"));
  CHECK(DwarfLines::open(*file, nullptr) == nullptr);
}

}  // namespace memtrace
