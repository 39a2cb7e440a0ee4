// What would break: a program that cannot be traced would run untraced without a word, or the loader would be
// handed a path that it cuts into names somebody else chose.
#include "analyzer/launch.hpp"

#include <elf.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>

#include "tests/support/catch.hpp"
#include "tests/support/temp_dir.hpp"

namespace memtrace {
namespace {

namespace fs = std::filesystem;

void write_file(const fs::path& path, const std::string& bytes, mode_t mode = 0755) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
  REQUIRE(chmod(path.c_str(), mode) == 0);
}

template <class Header, class Segment>
std::string elf(unsigned char elf_class, Elf64_Half machine, std::uint32_t segment_type) {
  Header header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = elf_class;
  header.e_machine = machine;
  header.e_phoff = sizeof(Header);
  header.e_phentsize = sizeof(Segment);
  header.e_phnum = 1;
  Segment segment{};
  segment.p_type = segment_type;
  std::string bytes(sizeof(header) + sizeof(segment), '\0');
  std::memcpy(bytes.data(), &header, sizeof(header));
  std::memcpy(bytes.data() + sizeof(header), &segment, sizeof(segment));
  return bytes;
}

std::string elf64(std::uint32_t segment_type, Elf64_Half machine = EM_X86_64) {
  return elf<Elf64_Ehdr, Elf64_Phdr>(ELFCLASS64, machine, segment_type);
}

TEST_CASE("the shim is found in an installation and in a build tree") {
  const test::TempDir dir;
  CHECK_FALSE(find_shim(dir.path() / "bin/memtrace"));
  for (const char* place : {"usr/lib", "build/preload"}) {
    const fs::path shim = dir.path() / place / "libmemtrace.so";
    write_file(shim, "");
  }
  fs::create_directories(dir.path() / "usr/bin");
  fs::create_directories(dir.path() / "build/analyzer");
  CHECK(find_shim(dir.path() / "usr/bin/memtrace") == dir.path() / "usr/lib/libmemtrace.so");
  CHECK(find_shim(dir.path() / "build/analyzer/memtrace") == dir.path() / "build/preload/libmemtrace.so");
}

TEST_CASE("a path that the loader would cut is refused") {
  CHECK_FALSE(preload_problem("/usr/lib/libmemtrace.so"));
  CHECK(preload_problem("/opt/a b/libmemtrace.so"));
  CHECK(preload_problem("/opt/a:b/libmemtrace.so"));
}

TEST_CASE("the shim goes first and others stay") {
  CHECK(preload_with("/lib/m.so", "") == "/lib/m.so");
  CHECK(preload_with("/lib/m.so", "/lib/a.so b.so") == "/lib/m.so:/lib/a.so b.so");
  CHECK(preload_with("/lib/m.so", "/lib/a.so:/lib/m.so") == "/lib/a.so:/lib/m.so");
  CHECK(preload_with("/lib/m.so", "/lib/m.so.1") == "/lib/m.so:/lib/m.so.1");
}

TEST_CASE("programs are searched as execvp searches them") {
  const test::TempDir dir;
  write_file(dir.path() / "closed/tool", "", 0644);
  write_file(dir.path() / "open/tool", "", 0755);
  const std::string path = (dir.path() / "none").string() + ":" + (dir.path() / "open").string();
  CHECK(search_program("tool", path) == dir.path() / "open/tool");
  CHECK(search_program("./tool", path) == "./tool");
  CHECK(search_program("no-such-tool", path).empty());
}

TEST_CASE("what the loader cannot preload into is refused with the reason") {
  const test::TempDir dir;
  const fs::path shim = dir.path() / "libmemtrace.so";
  const fs::path program = dir.path() / "program";
  write_file(shim, elf64(PT_LOAD));

  write_file(program, elf64(PT_INTERP));
  CHECK_FALSE(trace_problem(program, shim));
  write_file(program, elf64(PT_LOAD));
  CHECK_THAT(trace_problem(program, shim).value_or(""), Catch::Contains("statically linked"));
  write_file(program, elf64(PT_INTERP, EM_AARCH64));
  CHECK_THAT(trace_problem(program, shim).value_or(""), Catch::Contains("another kind of machine"));
  write_file(program, elf<Elf32_Ehdr, Elf32_Phdr>(ELFCLASS32, EM_386, PT_INTERP));
  CHECK_THAT(trace_problem(program, shim).value_or(""), Catch::Contains("32 bit"));
}

TEST_CASE("a script is judged by its interpreter") {
  const test::TempDir dir;
  const fs::path shim = dir.path() / "libmemtrace.so";
  const fs::path interpreter = dir.path() / "interpreter";
  const fs::path script = dir.path() / "script";
  write_file(shim, elf64(PT_LOAD));
  write_file(script, "#! " + interpreter.string() + " -u\nprint()\n");
  write_file(interpreter, elf64(PT_LOAD));
  CHECK_THAT(trace_problem(script, shim).value_or(""), Catch::Contains("statically linked"));
  write_file(interpreter, elf64(PT_INTERP));
  CHECK_FALSE(trace_problem(script, shim));
  write_file(script,
             "#!" + script.string() + "\n");  // its own interpreter: the kernel refuses it, we only end
  CHECK_FALSE(trace_problem(script, shim));
}

TEST_CASE("damaged programs are left to exec") {
  const test::TempDir dir;
  const fs::path shim = dir.path() / "libmemtrace.so";
  const fs::path program = dir.path() / "program";
  write_file(shim, elf64(PT_LOAD));
  write_file(program, "");
  CHECK_FALSE(trace_problem(program, shim));
  write_file(program, "no program at all");
  CHECK_FALSE(trace_problem(program, shim));
  CHECK_FALSE(trace_problem(dir.path() / "absent", shim));
  const std::string whole = elf64(PT_INTERP);
  write_file(program, whole.substr(0, sizeof(Elf64_Ehdr)));
  CHECK(trace_problem(program, shim));  // segments cut off: no loader either
}

}  // namespace
}  // namespace memtrace
