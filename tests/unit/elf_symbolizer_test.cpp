// Without this, a report would name the wrong line, lose the inlined frames that say who leaked, or depend on
// how the program was compiled: PIE or not, DWARF 4 or 5, compressed, split, with another compiler.
#include "analyzer/symbols/elf_symbolizer.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "tests/programs/symbols/victims.hpp"
#include "tests/support/child.hpp"

namespace memtrace {
namespace {

using Frames = std::vector<SourceFrame>;
using victims::line_of;

const std::string kChain = victims::kSources + "chain.cpp";
const std::string kDeep = victims::kSources + "include/deep.hpp";

struct Expected {
  std::string function;  // its start: of an inlined static function g++ keeps no parameters
  std::string file;
  std::string marker;
  bool inlined;
};

void check(const Frames& frames, const std::vector<Expected>& expected) {
  REQUIRE(frames.size() >= expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    INFO("frame " << i << ": " << frames[i].function << " " << frames[i].file << ":" << frames[i].line);
    CHECK_THAT(frames[i].function, Catch::StartsWith(expected[i].function));
    CHECK(frames[i].file == expected[i].file);
    CHECK(frames[i].line ==
          line_of(std::filesystem::path(expected[i].file).lexically_relative(victims::kSources),
                  expected[i].marker));
    CHECK(frames[i].inlined == expected[i].inlined);
  }
}

}  // namespace

TEST_CASE("exact lines and inline chains, however the program was built") {
  const std::string name = GENERATE("pie", "no_pie", "dwarf4", "dwarf5", "compressed", "types", "lto",
                                    "library.so", "split4", "split5", "clang");
  if (name == "clang" && !victims::exists(name)) return;
  INFO(name);
  const auto probes = victims::probes(name);
  const auto symbolizer = victims::offline_symbolizer();
  const Module module = victims::module_at(victims::path(name));
  const auto at = [&](const char* marker) -> const Frames& {
    return symbolizer->resolve(module, probes.at(marker));
  };

  check(at("leaf"), {{"victim::leaf(int)", kChain, "leaf", true},
                     {"victim::middle", kChain, "middle", true},
                     {"victim::outer(int)", kChain, "outer", false}});
  CHECK(at("leaf").size() == 3);
  check(at("in_header"), {{"victim::in_header(int)", kDeep, "in_header", true},
                          {"victim::uses_header(int)", kChain, "uses_header", false}});
  check(at("hidden"), {{"victim::(anonymous namespace)::hidden(int)", kChain, "hidden", false}});
  check(at("method"), {{"victim::Cache::put(int, char const*)", kChain, "method", false}});
  check(at("method_template"), {{"long victim::Cache::get<long>(long)", kChain, "method_template", false}});
  check(at("c_name"), {{"plain_c_name", kChain, "c_name", false}});
  CHECK(at("c_name").size() == 1);

  // Compilers leave the linkage name of what is inlined and local to a file to the reader's scope.
  const Frames& hidden = at("hidden_inline");
  REQUIRE(hidden.size() == 2);
  CHECK(hidden[0].function.starts_with("victim::(anonymous namespace)::hidden_inline"));
  CHECK(hidden[0].line == line_of("chain.cpp", "hidden_inline"));
  CHECK(hidden[1].function == "victim::Cache::put(int, char const*)");
  CHECK(hidden[1].line == line_of("chain.cpp", "calls_hidden_inline"));

  const Frames& lambda = at("lambda");
  REQUIRE(!lambda.empty());
  CHECK_THAT(lambda[0].function,
             Catch::StartsWith("victim::with_lambda(int)::") && Catch::Contains("operator()"));
  CHECK(lambda[0].line == line_of("chain.cpp", "lambda"));

  CHECK(victims::joined_notes(*symbolizer) == "");
}

TEST_CASE("lines without function entries still give lines and linked names") {
  if (!victims::exists("clang_lines_only")) return;
  const auto probes = victims::probes("clang_lines_only");
  const auto symbolizer = victims::offline_symbolizer();
  const auto& frames =
      symbolizer->resolve(victims::module_at(victims::path("clang_lines_only")), probes.at("leaf"));
  REQUIRE(frames.size() == 3);
  CHECK(frames[0].line == line_of("chain.cpp", "leaf"));
  CHECK(frames[2].function == "victim::outer(int)");
}

TEST_CASE("units without .debug_aranges are found by walking") {
  const victims::TempDir dir;
  victims::run("objcopy --remove-section .debug_aranges " + victims::path("library.so") + " " +
               (dir / "library.so"));
  const auto probes = victims::probes("library.so");
  const auto symbolizer = victims::offline_symbolizer();
  check(symbolizer->resolve(victims::module_at(dir / "library.so"), probes.at("leaf")),
        {{"victim::leaf(int)", kChain, "leaf", true},
         {"victim::middle", kChain, "middle", true},
         {"victim::outer(int)", kChain, "outer", false}});
}

TEST_CASE("a missing .dwo file costs the inlined frames, not the line, and is named") {
  const victims::TempDir dir;
  victims::run("cd " + dir.path() + " && g++ -c -O2 -gdwarf-5 " + "-gsplit-dwarf -fPIC -std=c++20 " + kChain +
               " -o gone.o && g++ -shared gone.o -o gone.so && rm *.dwo");
  const auto symbolizer = victims::offline_symbolizer();
  const Module module = victims::module_at(dir / "gone.so");
  bool line_seen = false;
  const std::uint32_t line = line_of("chain.cpp", "c_name");
  for (std::uint64_t offset = 0x1000; offset < 0x1400; ++offset) {
    for (const SourceFrame& frame : symbolizer->resolve(module, offset)) {
      line_seen = line_seen || (frame.line == line && frame.function == "plain_c_name");
    }
  }
  CHECK(line_seen);
  CHECK_THAT(victims::joined_notes(*symbolizer), Catch::Contains("gone.dwo: split debug file not found"));
}

TEST_CASE("asked for many at once, on all processors, the answers are the same") {
  const std::string name =
      GENERATE("pie", "dwarf4", "compressed", "types", "lto", "split5", "library.so", "clang", "no_debug");
  if (!victims::exists(name)) return;
  INFO(name);
  const Module module = victims::module_at(victims::path(name));
  const Module missing = victims::module_at("/nowhere/at/all", "00112233");
  const Module nameless = victims::module_at("[vdso]", "");
  std::vector<Symbolizer::Question> questions;
  for (std::uint64_t offset = 0; offset < 0x3000; ++offset) questions.push_back({&module, offset});
  questions.push_back({&missing, 1});
  questions.push_back({&nameless, 1});
  const auto one_by_one = victims::offline_symbolizer();
  const auto at_once = victims::offline_symbolizer();
  std::size_t steps = 0;
  at_once->prepare(questions, [&] { ++steps; });
  CHECK(steps > questions.size() / 2);
  CHECK(steps <= questions.size() + 8);
  std::size_t answered = 0;
  std::size_t different = 0;
  for (const auto& [asked, offset] : questions) {
    const auto& expected = one_by_one->resolve(*asked, offset);
    const auto& frames = at_once->resolve(*asked, offset);
    answered += frames.empty() ? 0U : 1U;
    const bool same = std::ranges::equal(expected, frames, [](const SourceFrame& a, const SourceFrame& b) {
      return a.function == b.function && a.file == b.file && a.line == b.line && a.inlined == b.inlined;
    });
    different += same ? 0U : 1U;
  }
  CHECK(different == 0);
  CHECK(answered > 250);
  CHECK(at_once->notes() == one_by_one->notes());
}

TEST_CASE("where no thread can be had, the answers come without") {
  if (!victims::exists("pie")) return;
  const Module module = victims::module_at(victims::path("pie"));
  std::vector<Symbolizer::Question> questions;
  for (std::uint64_t offset = 0; offset < 0x3000; ++offset) questions.push_back({&module, offset});
  CHECK(test::in_child([&] {
          const rlimit none{0, 0};
          test::expect(setrlimit(RLIMIT_NPROC, &none) == 0);
          if (geteuid() == 0) test::expect(setuid(12345) == 0);         // root has as many as it likes
          if (access(victims::path("pie").c_str(), R_OK) != 0) return;  // built where others may not read
          const auto symbolizer = victims::offline_symbolizer();
          symbolizer->prepare(questions, [] {});
          std::size_t answered = 0;
          for (const auto& [asked, offset] : questions) {
            answered += symbolizer->resolve(*asked, offset).empty() ? 0U : 1U;
          }
          test::expect(answered > 250);
        }).fine());
}

TEST_CASE("what has no file has no frames") {
  const auto symbolizer = victims::offline_symbolizer();
  for (const char* path : {"", "[vdso]", "[heap]", "/nowhere/at/all", "/", "/dev/null", "relative"}) {
    CHECK(symbolizer->resolve(victims::module_at(path, "00112233"), 0x100).empty());
  }
  const std::string notes = victims::joined_notes(*symbolizer);
  CHECK_THAT(notes, Catch::Contains("/nowhere/at/all") && Catch::Contains("--sysroot DIR"));
  CHECK_THAT(notes, !Catch::Contains("vdso"));
}

TEST_CASE("offsets outside the code have no frames") {
  const auto symbolizer = victims::offline_symbolizer();
  const Module module = victims::module_at(victims::path("pie"));
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{1} << 40, UINT64_MAX}) {
    CHECK(symbolizer->resolve(module, offset).empty());
  }
}

TEST_CASE("answers stay where they are") {
  const auto probes = victims::probes("pie");
  const auto symbolizer = victims::offline_symbolizer();
  const Module module = victims::module_at(victims::path("pie"));
  const Frames* first = &symbolizer->resolve(module, probes.at("leaf"));
  for (std::uint64_t offset = 0x1000; offset < 0x1400; ++offset) (void)symbolizer->resolve(module, offset);
  const Module library = victims::module_at(victims::path("library.so"));
  (void)symbolizer->resolve(library, 0x1100);
  CHECK(&symbolizer->resolve(module, probes.at("leaf")) == first);
  CHECK(first->size() == 3);
}

TEST_CASE("nothing is opened before it is asked for") {
  const victims::TempDir dir;
  const auto symbolizer = victims::offline_symbolizer();
  CHECK(symbolizer->notes().empty());
  victims::copy(victims::path("library.so"), dir / "late.so");
  CHECK(!symbolizer->resolve(victims::module_at(dir / "late.so"), victims::probes("library.so").at("leaf"))
             .empty());
}

}  // namespace memtrace
