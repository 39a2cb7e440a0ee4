// Without this, symbols of stripped programs would not be found, or, worse, those of another version would be
// believed, and the report would not say what to do.
#include "analyzer/symbols/debug_files.hpp"

#include <dlfcn.h>
#include <gnu/libc-version.h>

#include "tests/programs/symbols/victims.hpp"

namespace memtrace {
namespace {

using victims::TempDir;

const std::string kLibrary = victims::path("library.so");

// A directory with `library.so` stripped of everything and its debug information beside it in `full.debug`.
struct Stripped {
  TempDir dir;
  std::string binary = dir / "app/library.so";
  std::string debug = dir / "full.debug";
  std::string build_id = victims::build_id_of(kLibrary);
  std::uint64_t offset = victims::probes("library.so").at("leaf");

  Stripped() {
    victims::copy(kLibrary, binary);
    victims::run("objcopy --only-keep-debug " + kLibrary + " " + debug);
    victims::run("strip " + binary);
  }
  [[nodiscard]] std::string filed(const std::string& root) const {
    return root + "/.build-id/" + build_id.substr(0, 2) + "/" + build_id.substr(2) + ".debug";
  }
  [[nodiscard]] std::size_t depth(Symbolizer& symbolizer, const std::string& id) const {
    return symbolizer.resolve(victims::module_at(binary, id), offset).size();
  }
  [[nodiscard]] std::size_t depth(Symbolizer& symbolizer) const { return depth(symbolizer, build_id); }
  void link(const std::string& debug_name) const {
    victims::copy(debug, dir / ("linked/" + debug_name));
    victims::run("objcopy --add-gnu-debuglink=" + (dir / ("linked/" + debug_name)) + " " + binary);
  }
};

// A copy without its build-id note: only the checksum speaks for it.
void without_build_id(const std::string& file) {
  victims::run("objcopy --remove-section .note.gnu.build-id " + file);
}

}  // namespace

TEST_CASE("a stripped library has names of exported functions only, and a note says what is missing") {
  const Stripped victim;
  const auto symbolizer = victims::offline_symbolizer();
  const auto& frames = symbolizer->resolve(victims::module_at(victim.binary), victim.offset);
  REQUIRE(frames.size() == 1);
  CHECK(frames[0].function == "victim::outer(int)");
  CHECK(frames[0].line == 0);
  CHECK_THAT(victims::joined_notes(*symbolizer), Catch::Contains(victim.binary) &&
                                                     Catch::Contains(victim.build_id) &&
                                                     Catch::Contains("--debug-path DIR"));
}

TEST_CASE("debug files are found by build-id below a debug path") {
  const Stripped victim;
  victims::copy(victim.debug, victim.filed(victim.dir / "symbols"));
  const auto symbolizer = victims::offline_symbolizer({victim.dir / "symbols"});
  CHECK(victim.depth(*symbolizer) == 3);
  CHECK(symbolizer->notes().empty());
}

TEST_CASE("unstripped files in a debug path are found by name") {
  const Stripped victim;
  const auto symbolizer = victims::offline_symbolizer({victims::path("")});
  CHECK(victim.depth(*symbolizer) == 3);
}

TEST_CASE("a debug file with another build-id is not used and is named") {
  const Stripped victim;
  victims::copy(victims::path("other_build_id.so"), victim.filed(victim.dir / "symbols"));
  const auto symbolizer = victims::offline_symbolizer({victim.dir / "symbols"});
  CHECK(victim.depth(*symbolizer) == 1);
  CHECK_THAT(victims::joined_notes(*symbolizer),
             Catch::Contains(victim.filed(victim.dir / "symbols") + " has build-id 0123456789abcdef"));
}

TEST_CASE("a binary with another build-id than the snapshot's is not used and is named") {
  const auto symbolizer = victims::offline_symbolizer();
  const std::string wanted = "00000000000000000000000000000000000000aa";
  CHECK(symbolizer->resolve(victims::module_at(kLibrary, wanted), victims::probes("library.so").at("leaf"))
            .empty());
  const std::string notes = victims::joined_notes(*symbolizer);
  CHECK_THAT(notes, Catch::Contains(kLibrary + " has build-id " + victims::build_id_of(kLibrary)));
  CHECK_THAT(notes, Catch::Contains(wanted) && Catch::Contains("--sysroot DIR"));
}

TEST_CASE("a binary without build-id is not taken for one that has it") {
  const std::string file = victims::path("no_build_id.so");
  const auto symbolizer = victims::offline_symbolizer();
  CHECK(symbolizer->resolve(victims::module_at(file, "00aa"), victims::probes("no_build_id.so").at("leaf"))
            .empty());
  CHECK_THAT(victims::joined_notes(*symbolizer), Catch::Contains(file + " has no build-id"));
}

TEST_CASE("a module without build-id is read, and a doubt about its version is noted") {
  const std::uint64_t offset = victims::probes("library.so").at("leaf");
  const auto symbolizer = victims::offline_symbolizer();
  CHECK(symbolizer->resolve(victims::module_at(victims::path("no_build_id.so"), ""), offset).size() == 3);
  CHECK(symbolizer->notes().empty());
  CHECK(symbolizer->resolve(victims::module_at(kLibrary, ""), offset).size() == 3);
  CHECK_THAT(victims::joined_notes(*symbolizer), Catch::Contains("may be another version"));
}

TEST_CASE("debug files are found by debug link, beside the binary and in .debug") {
  const std::string place = GENERATE("app/", "app/.debug/");
  const bool with_id = GENERATE(true, false);
  const Stripped victim;
  if (!with_id) without_build_id(victim.debug);
  victim.link("x.debug");
  victims::copy(victim.debug, victim.dir / (place + "x.debug"));
  const auto symbolizer = victims::offline_symbolizer();
  CHECK(victim.depth(*symbolizer) == 3);
}

TEST_CASE("debug files are found by debug link below a debug path, filed by the target's directories") {
  const Stripped victim;
  without_build_id(victim.debug);
  victim.link("x.debug");
  victims::copy(victim.debug, (victim.dir / "symbols") + victim.dir.path() + "/app/x.debug");
  const auto symbolizer = victims::offline_symbolizer({victim.dir / "symbols"});
  CHECK(victim.depth(*symbolizer) == 3);
}

TEST_CASE("a linked debug file with another checksum is not used and is named") {
  const Stripped victim;
  without_build_id(victim.debug);
  victim.link("x.debug");
  victims::copy(victim.debug, victim.dir / "app/x.debug");
  std::ofstream(victim.dir / "app/x.debug", std::ios::app) << "x";
  const auto symbolizer = victims::offline_symbolizer();
  CHECK(victim.depth(*symbolizer) == 1);
  CHECK_THAT(victims::joined_notes(*symbolizer), Catch::Contains("app/x.debug has another checksum"));
}

TEST_CASE("a linked debug file with another build-id is not used although its checksum fits") {
  const Stripped victim;
  victims::copy(victims::path("other_build_id.so"), victim.dir / "app/x.debug");
  victims::run("objcopy --add-gnu-debuglink=" + (victim.dir / "app/x.debug") + " " + victim.binary);
  const auto symbolizer = victims::offline_symbolizer();
  CHECK(victim.depth(*symbolizer) == 1);
  CHECK_THAT(victims::joined_notes(*symbolizer),
             Catch::Contains("app/x.debug has build-id 0123456789abcdef"));
}

TEST_CASE("a deleted file is looked for where it was, and must have the build-id") {
  const std::uint64_t offset = victims::probes("library.so").at("leaf");
  const std::string build_id = victims::build_id_of(kLibrary);
  const auto symbolizer = victims::offline_symbolizer();
  CHECK(symbolizer->resolve(victims::module_at(kLibrary + " (deleted)", build_id), offset).size() == 3);
  CHECK(symbolizer->resolve(victims::module_at(kLibrary + " (deleted)", "00aa"), offset).empty());
  CHECK(symbolizer->resolve(victims::module_at(kLibrary + " (deleted)", ""), offset).empty());
}

TEST_CASE("with a sysroot, binaries and debug files come from there") {
  const Stripped victim;
  const std::string sysroot = victim.dir / "root";
  victims::copy(victim.binary, sysroot + "/opt/app/library.so");
  victims::copy(victim.debug, victim.filed(sysroot + "/usr/lib/debug"));
  const auto symbolizer = victims::offline_symbolizer({}, sysroot + "/");
  CHECK(
      symbolizer->resolve(victims::module_at("/opt/app/library.so", victim.build_id), victim.offset).size() ==
      3);
  CHECK(symbolizer->notes().empty());
  // The same path outside the sysroot is another machine's file.
  CHECK(symbolizer->resolve(victims::module_at(kLibrary, "00aa"), victim.offset).empty());
  CHECK_THAT(victims::joined_notes(*symbolizer),
             Catch::Contains("not found") && !Catch::Contains("has build-id"));
}

TEST_CASE("a debug path is also looked for inside the sysroot") {
  const Stripped victim;
  const std::string sysroot = victim.dir / "root";
  victims::copy(victim.binary, sysroot + "/opt/app/library.so");
  victims::copy(victim.debug, victim.filed(sysroot + "/opt/symbols"));
  const auto symbolizer = victims::offline_symbolizer({"/opt/symbols"}, sysroot);
  CHECK(
      symbolizer->resolve(victims::module_at("/opt/app/library.so", victim.build_id), victim.offset).size() ==
      3);
}

TEST_CASE("the debug file alone is enough when the binary is gone") {
  const Stripped victim;
  victims::copy(victim.debug, victim.filed(victim.dir / "symbols"));
  const auto symbolizer = victims::offline_symbolizer({victim.dir / "symbols"});
  Module module = victims::module_at("/gone/library.so", victim.build_id);
  module.file_offset = 0x1000;
  CHECK(symbolizer->resolve(module, victim.offset).size() == 3);
  module.path = "/gone/too/library.so";
  module.file_offset = victim.offset + 1;
  CHECK(symbolizer->resolve(module, victim.offset).empty());
}

TEST_CASE("build-ids from a snapshot cannot lead out of the debug path") {
  const TempDir dir;
  const auto symbolizer = victims::offline_symbolizer({dir.path()});
  for (const char* id : {"../../../../etc/passwd", "..", "/", "00/../..", "zz11", "0"}) {
    CHECK(symbolizer->resolve(victims::module_at("/nowhere/x", id), 0x1000).empty());
  }
}

TEST_CASE("the C library gets lines when its debug package is installed") {
  Dl_info info{};
  REQUIRE(dladdr(reinterpret_cast<void*>(&gnu_get_libc_version), &info) != 0);
  const std::string libc = std::filesystem::canonical(info.dli_fname);
  const std::string id = victims::build_id_of(libc);
  const std::string debug = "/usr/lib/debug/.build-id/" + id.substr(0, 2) + "/" + id.substr(2) + ".debug";
  const auto vaddr =
      static_cast<std::uint64_t>(static_cast<char*>(info.dli_saddr) - static_cast<char*>(info.dli_fbase));
  // On every distribution so far the code of the C library lies at its own offset.
  REQUIRE(victims::open_elf(libc)->vaddr_of(vaddr) == vaddr);
  const auto symbolizer = victims::offline_symbolizer();
  const auto& frames = symbolizer->resolve(victims::module_at(libc), vaddr);
  REQUIRE(frames.size() == 1);
  CHECK_THAT(frames[0].function, Catch::EndsWith("gnu_get_libc_version"));
  if (!std::filesystem::exists(debug)) {
    WARN("no debug package of the C library: lines not tested");
    return;
  }
  CHECK_THAT(frames[0].file, Catch::EndsWith("csu/version.c"));
  CHECK(frames[0].line > 0);
}

TEST_CASE("debug information that dwz moved to another file is followed, with the right build-id only") {
  const TempDir dir;
  if (std::system("command -v dwz >/dev/null 2>&1") != 0) {
    WARN("dwz is not installed: not tested");
    return;
  }
  victims::copy(victims::path("dwarf4"), dir / "a");
  victims::copy(victims::path("dwarf4"), dir / "b");
  victims::run("cd " + dir.path() +
               " && dwz -q -m common.debug -M common.debug a b 2>&1; test -e common.debug");
  const std::uint64_t offset = victims::probes("dwarf4").at("leaf");
  const auto symbolizer = victims::offline_symbolizer();
  const auto& frames = symbolizer->resolve(victims::module_at(dir / "a"), offset);
  REQUIRE(frames.size() == 3);
  CHECK(frames[2].function == "victim::outer(int)");

  std::filesystem::remove(dir / "common.debug");
  victims::copy(victims::path("other_build_id.so"), dir / "common.debug");
  const auto later = victims::offline_symbolizer();
  CHECK(later->resolve(victims::module_at(dir / "a"), offset).size() == 1);
  CHECK_THAT(victims::joined_notes(*later),
             Catch::Contains("needs common.debug") && Catch::Contains("has build-id"));
}

TEST_CASE("debuginfod is asked only when the variable names a server and the option allows it") {
  const Stripped victim;
  victims::copy(victim.debug, victim.dir / ("server/buildid/" + victim.build_id + "/debuginfo"));
  const std::string server = "file://" + (victim.dir / "server");
  setenv("DEBUGINFOD_CACHE_PATH", (victim.dir / "cache").c_str(), 1);
  setenv("DEBUGINFOD_URLS", "", 1);
  CHECK(victim.depth(*make_elf_symbolizer({})) == 1);
  setenv("DEBUGINFOD_URLS", server.c_str(), 1);
  CHECK(victim.depth(*make_elf_symbolizer({{}, {}, false})) == 1);
  CHECK(!std::filesystem::exists(victim.dir / "cache"));
  if (DebuginfodClient::create() == nullptr) {
    WARN("libdebuginfod is not installed: not tested");
  } else {
    CHECK(victim.depth(*make_elf_symbolizer({})) == 3);
  }

  // Nothing listens there: asked once, then given up and noted.
  setenv("DEBUGINFOD_URLS", "http://127.0.0.1:9", 1);
  setenv("DEBUGINFOD_CACHE_PATH", (victim.dir / "cache2").c_str(), 1);
  const auto refused = make_elf_symbolizer({});
  CHECK(victim.depth(*refused) == 1);
  unsetenv("DEBUGINFOD_URLS");
  unsetenv("DEBUGINFOD_CACHE_PATH");
  CHECK(refused->notes().size() == 1);
}

}  // namespace memtrace
