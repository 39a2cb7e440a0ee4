// Would break: memdiff hanging at a FIFO, or filling the memory, where a split debug file should be.
#include "analyzer/symbols/split_files.hpp"

#include <sys/stat.h>

#include "tests/programs/symbols/victims.hpp"

namespace memtrace {
namespace {

using victims::TempDir;

// chain.so, whose functions are in chain.dwo beside it.
std::string split_library(const TempDir& dir) {
  victims::run("cd " + dir.path() + " && g++ -c -O2 -gdwarf-5 -gsplit-dwarf -fPIC -std=c++20 " +
               victims::kSources + "chain.cpp -o chain.o && g++ -shared -Wl,--build-id chain.o -o chain.so");
  return dir / "chain.so";
}

// Deepest stack of inlined functions, and what is said.
std::pair<std::size_t, std::string> ask(const std::string& library) {
  const auto symbolizer = victims::offline_symbolizer();
  const Module module = victims::module_at(library);
  std::size_t longest = 0;
  for (std::uint64_t offset = 0x1000; offset < 0x1400; ++offset)
    longest = std::max(longest, symbolizer->resolve(module, offset).size());
  return {longest, victims::joined_notes(*symbolizer)};
}

// A section of so many megabytes of zeros.
void make_zeros(const std::string& path, const std::string& section, const std::string& megabytes,
                const std::string& compression) {
  std::ofstream(path + ".s") << ".section " + section + ",\"e\",@progbits\n.skip " + megabytes + " << 20\n";
  victims::run("gcc -c " + path + ".s -o " + path + " && objcopy --compress-debug-sections=" + compression +
               " " + path);
}

}  // namespace

TEST_CASE("what lies where a split file should be is not opened by libdw unless it may be") {
  const TempDir dir;
  const std::string library = split_library(dir);
  const std::string split = dir / "chain.dwo";
  CHECK(ask(library) == std::pair(std::size_t{3}, std::string()));

  const auto check_refused = [&](const std::string& why) {
    const auto [longest, notes] = ask(library);
    CHECK(longest == 1);
    CHECK(notes == split + ": split debug file not used: " + why +
                       ", so no inlined frames from it; keep the .dwo files of the build where they were.\n");
  };
  std::filesystem::remove(split);
  REQUIRE(mkfifo(split.c_str(), 0600) == 0);
  check_refused("not a regular file");
  std::filesystem::remove(split);
  std::filesystem::create_symlink("/dev/zero", split);
  check_refused("not a regular file");
  std::filesystem::remove(split);
  std::ofstream(split) << "text";
  check_refused("not an ELF file");
  make_zeros(split, ".debug_info.dwo", "80", "zlib");
  check_refused("decompressed it would be too large");
  make_zeros(split, ".debug_line.dwo", "60", "none");
  check_refused("its line table is too large");
}

TEST_CASE("a FIFO in the directory of compilation is found out, too") {
  const TempDir dir;
  const std::string library = split_library(dir);
  std::filesystem::create_directory(dir / "moved");
  std::filesystem::rename(library, dir / "moved/chain.so");
  CHECK(ask(dir / "moved/chain.so").first == 3);
  std::filesystem::remove(dir / "chain.dwo");
  REQUIRE(mkfifo((dir / "chain.dwo").c_str(), 0600) == 0);
  CHECK_THAT(ask(dir / "moved/chain.so").second, Catch::Contains("not used: not a regular file"));
}

TEST_CASE("the same split file again is charged for what it takes again, and for its work once") {
  const TempDir dir;
  make_zeros(dir / "a.dwo", ".debug_info.dwo", "60", "zlib");
  make_zeros(dir / "file", ".debug_info", "1", "none");
  SplitFiles files(*victims::open_elf(dir / "file"));
  WorkLeft work(0);
  const std::uint64_t before = work.left();
  std::uint64_t line_bytes = 0;
  std::size_t admitted = 0;
  while (admitted < 1000 && files.refusal("a.dwo", "", line_bytes, work).empty()) ++admitted;
  CHECK(admitted == (4 << 10) / 60);
  CHECK(work.left() == before + (60 << 20) * WorkLeft::kForEachByte);
}

TEST_CASE("where nothing lies there is nothing to refuse") {
  const TempDir dir;
  SplitFiles files(*victims::open_elf(split_library(dir)));
  WorkLeft work(0);
  std::uint64_t line_bytes = 1 << 20;
  for (const std::string name : {"", "none.dwo", "/none.dwo"}) {
    for (const std::string directory : {"", "none", "/none"})
      CHECK(files.refusal(name, directory, line_bytes, work).empty());
  }
  CHECK(line_bytes == 1 << 20);
}

}  // namespace memtrace
