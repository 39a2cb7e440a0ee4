// Would break: stacks through code whose unwind tables we read differently from everybody else.
//
// Every row of every function of real files is held against what binutils makes of it.
#include "preload/unwind/cfi.hpp"

#include <cstdio>
#include <filesystem>
#include <map>

#include "tests/support/catch.hpp"
#include "tests/support/frame_rows.hpp"
#include "tests/support/mapped_object.hpp"
#include "tests/support/run_program.hpp"

using namespace memtrace;
using test::FrameRow;

namespace {

constexpr StepRule kGuess{StepKind::kGuess};

// "rsp+16" -> 16, if it is of that register.
bool offset_of(const std::string& cfa, const std::string& name, std::int64_t& offset) {
  if (cfa.rfind(name, 0) != 0 || cfa.size() == name.size()) return false;
  offset = std::stoll(cfa.substr(name.size()));
  return true;
}

// What a row says, in our words. False: it holds an expression, whose contents readelf does not print here.
bool rule_of(const FrameRow& row, StepRule& rule) {
  if (row.is_signal_frame || row.cfa == "exp" || row.rbp == "exp" || row.rbp == "vexp") return false;
  rule = kGuess;
  if (row.return_address == "u") {
    rule = StepRule(StepKind::kEnd);
    return true;
  }
  std::int64_t offset = 0;
  const bool by_rsp = offset_of(row.cfa, "rsp", offset);
  if (row.return_address != "c-8" || (!by_rsp && !offset_of(row.cfa, "rbp", offset))) return true;
  if (offset < 8 || offset % 8 != 0 || offset >= StepRule::kMaxOffset) return true;
  std::uint64_t slot = StepRule::kKeptSlot;
  if (row.rbp != "u" && row.rbp != "s") {
    if (row.rbp.rfind("c-", 0) != 0) return true;
    const std::uint64_t down = std::stoull(row.rbp.substr(2));
    const bool popped = by_rsp && down > static_cast<std::uint64_t>(offset);
    if (!popped && (down % 8 != 0 || down < 16 || down / 8 > StepRule::kMaxSlot)) return true;
    if (!popped) slot = down / 8;
  }
  rule = {by_rsp ? StepKind::kRsp : StepKind::kRbp, offset, slot};
  return true;
}

std::string text(StepRule rule) {
  return std::to_string(static_cast<int>(rule.kind())) + " offset " + std::to_string(rule.signed_offset()) +
         " slot " + std::to_string(rule.slot());
}

struct Tally {
  std::size_t rows = 0;
  std::size_t expressions = 0;
  std::size_t guesses = 0;
  std::size_t wrong = 0;
};

Tally compare(const std::string& path) {
  const test::MappedObject object(path);
  Tally tally;
  test::for_each_frame_row(path, [&](const FrameRow& row) {
    if (row.begin >= row.end) return;
    ++tally.rows;
    StepRule expected;
    const bool known = rule_of(row, expected);
    tally.expressions += !known;
    for (const std::uint64_t address : {row.begin, row.begin + (row.end - row.begin) / 2, row.end - 1}) {
      const StepRule found = compile_step(object.tables(), object.at(address));
      if (address == row.begin) tally.guesses += found == kGuess;
      const bool fine =
          known ? found == expected : found.kind() != StepKind::kNone && found.kind() != StepKind::kEnd;
      if (fine || ++tally.wrong > 5) continue;
      std::printf("%s: 0x%lx: %s; found %s, expected %s\n", path.c_str(), static_cast<unsigned long>(address),
                  (row.cfa + " rbp " + row.rbp + " ra " + row.return_address).c_str(), text(found).c_str(),
                  text(expected).c_str());
    }
  });
  return tally;
}

}  // namespace

TEST_CASE("every row of real files is the rule that binutils reads") {
  std::vector<std::string> paths;
  for (const char* name : {"ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libgcc_s.so.1",
                           "libstdc++.so.6", "libcrypto.so.3", "libzstd.so.1", "libunwind.so.8"}) {
    const std::string path = std::string("/lib/x86_64-linux-gnu/") + name;
    if (std::filesystem::exists(path)) paths.push_back(path);
  }
  CHECK(paths.size() >= 4);
  paths.push_back("/usr/bin/python3");
  paths.push_back(std::filesystem::read_symlink("/proc/self/exe"));
  std::string compiler = test::run_program(MEMTRACE_CXX " -print-prog-name=cc1plus").output;
  compiler.erase(compiler.find_last_not_of('\n') + 1);
  if (std::filesystem::exists(compiler)) paths.push_back(compiler);
  for (const std::string& path : paths) {
    const Tally tally = compare(path);
    std::printf("%-45s %7zu rows, %4zu with expressions, %5zu guessed (%.3f %%)\n", path.c_str(), tally.rows,
                tally.expressions, tally.guesses,
                100.0 * static_cast<double>(tally.guesses) / static_cast<double>(tally.rows));
    CAPTURE(path);
    CHECK(tally.wrong == 0);
    CHECK(tally.rows > 100);
  }
}

TEST_CASE("the kernel's frame, the loader's stubs and realigned frames are known by their expressions") {
  const std::string libc = "/lib/x86_64-linux-gnu/libc.so.6";
  const test::MappedObject object(libc);
  std::map<StepKind, std::size_t> kinds;
  std::size_t stubs = 0;
  test::for_each_frame_row(libc, [&](const FrameRow& row) {
    if (row.begin >= row.end || (row.cfa != "exp" && !row.is_signal_frame)) return;
    const StepRule rule = compile_step(object.tables(), object.at(row.begin));
    ++kinds[rule.kind()];
    if (row.is_signal_frame) {
      CHECK(rule.kind() == StepKind::kSignal);
      return;
    }
    // The stubs of a PLT: 16 bytes each, 8 bytes more on the stack once the index is pushed.
    if (rule.kind() != StepKind::kRsp) return;
    for (std::uint64_t at = row.begin; at < row.end; ++at) {
      const StepRule stub = compile_step(object.tables(), object.at(at));
      CHECK(stub == StepRule(StepKind::kRsp, at % 16 >= 11 ? 16 : 8));
      ++stubs;
    }
  });
  CHECK(kinds[StepKind::kSignal] == 1);
  CHECK(stubs > 100);
}

TEST_CASE("addresses outside every function are guessed") {
  const test::MappedObject object("/lib/x86_64-linux-gnu/libc.so.6");
  const auto rows = test::frame_rows("/lib/x86_64-linux-gnu/libc.so.6");
  std::uint64_t end = 0;
  std::size_t gaps = 0;
  for (const FrameRow& row : rows) {
    if (end != 0 && row.begin > end) {
      CHECK(compile_step(object.tables(), object.at(end)) == kGuess);
      CHECK(compile_step(object.tables(), object.at(row.begin - 1)) == kGuess);
      ++gaps;
    }
    end = std::max(end, row.end);
  }
  CHECK(gaps > 100);
  CHECK(compile_step(object.tables(), object.at(end)) == kGuess);
  CHECK(compile_step(object.tables(), object.at(0)) == kGuess);
  CHECK(compile_step(object.tables(), 0) == kGuess);
  CHECK(compile_step(object.tables(), UINTPTR_MAX) == kGuess);
}

TEST_CASE("no tables, tables cut short, headers of other forms: guessed") {
  const test::MappedObject object("/lib/x86_64-linux-gnu/libc.so.6");
  const auto rows = test::frame_rows("/lib/x86_64-linux-gnu/libc.so.6");
  const std::uintptr_t address = object.at(rows[rows.size() / 2].begin);
  const CfiTables whole = object.tables();
  REQUIRE(compile_step(whole, address) != kGuess);
  CHECK(compile_step({}, address) == kGuess);
  for (std::uintptr_t end = whole.header; end < whole.header + 13; ++end) {
    CHECK(compile_step({whole.begin, end, whole.header}, address) == kGuess);
  }
  CHECK(compile_step({whole.begin, whole.end, whole.end}, address) == kGuess);
  CHECK(compile_step({whole.begin, whole.end, whole.begin - 8}, address) == kGuess);
  auto* header = reinterpret_cast<unsigned char*>(whole.header);
  for (const int i : {0, 3}) {  // version, form of the sorted table
    const unsigned char was = header[i];
    header[i] ^= 0x40;
    CHECK(compile_step(whole, address) == kGuess);
    header[i] = was;
  }
}
