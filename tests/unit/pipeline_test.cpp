// Would break: what people read. The whole way from snapshots to a report, on made-up processes.
#include "analyzer/pipeline.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/reports.hpp"

using namespace memtrace;
using test::FakeProcess;
using test::FakeSymbolizer;
using test::json_of;
using test::kMain;
using test::kPut;
using test::Leak;
using test::run;
using test::text_of;

namespace {

std::string without_colour(std::string text) {
  for (auto at = text.find('\033'); at != std::string::npos; at = text.find('\033')) {
    text.erase(at, text.find('m', at) - at + 1);
  }
  return text;
}

}  // namespace

TEST_CASE("the default report names the line to open") {
  Leak leak;
  CHECK(text_of(leak.process, {leak.then, leak.now}) ==
        R"(payments, pid 4242 on web-7; every allocation recorded
  OLD  a.snap  2026-09-21T14:13:30Z  live 24.9 KiB in 21 blocks  RSS 10.0 MiB
  NEW  b.snap  2026-09-21T14:15:10Z  live 120 KiB in 120 blocks  RSS 11.0 MiB
  1 min 40 s apart: live +95.1 KiB, RSS +1.00 MiB

Verdict: consistent with a leak: 1 call site grew by 100 KiB; of what was born there in 1 min 40 s and still lives, 25 % is from the oldest quarter of that time and 25 % from the newest; 100 % of what was live there before still is

#1  /src/cache.cc:88  Cache::put(int)
    +100 KiB  +100 blocks  100.0 % of growth  samples: 100 born, 0 died, 120 live
      operator new  payments+0x1000
      std::__new_allocator<...>::allocate  /usr/include/c++/12/bits/new_allocator.h:137 (inlined)
    > Cache::put(int)  /src/cache.cc:88
      main  /src/main.cc:12

#2  /src/log.cc:7  log_line(char const*)
    -4.88 KiB  -1 block  samples: 0 born, 1 died, 0 live
    > log_line(char const*)  /src/log.cc:7
      main  /src/main.cc:12

)");
}

TEST_CASE("one snapshot alone shows what is live") {
  Leak leak;
  CHECK(text_of(leak.process, {leak.then}) ==
        R"(payments, pid 4242 on web-7; every allocation recorded
  SNAP  a.snap  2026-09-21T14:13:30Z  live 24.9 KiB in 21 blocks  RSS 10.0 MiB

What is live (one snapshot shows what is live, not what grows)

#1  /src/cache.cc:88  Cache::put(int)
    20.0 KiB  20 blocks  80.4 % of live  20 samples
      operator new  payments+0x1000
      std::__new_allocator<...>::allocate  /usr/include/c++/12/bits/new_allocator.h:137 (inlined)
    > Cache::put(int)  /src/cache.cc:88
      main  /src/main.cc:12

#2  /src/log.cc:7  log_line(char const*)
    4.88 KiB  1 block  19.6 % of live  1 sample
    > log_line(char const*)  /src/log.cc:7
      main  /src/main.cc:12

)");
}

TEST_CASE("memory that is resident but not traced is spoken of") {
  FakeProcess process;
  process.header.mode = SamplingMode::kPoissonBytes;
  process.header.interval_bytes = 4096;
  const auto put = process.stack({kPut, kMain});
  const auto report = [&](std::uint64_t growth_bytes) {
    process.header.rss_bytes = 10 << 20;
    const Snapshot then = process.snapshot_at(10);
    for (int i = 0; i < 100; ++i) process.allocate(put, 100'000, 15);
    process.header.rss_bytes = (10 << 20) + growth_bytes;
    return text_of(process, {then, process.snapshot_at(20)});
  };
  const char* note = "RSS grew by 40.0 MiB, more than what is traced can explain";
  CHECK(report(40 << 20).find(note) != std::string::npos);
  CHECK(report(10 << 20).find("can explain") == std::string::npos);
  process.header.mode = SamplingMode::kAll;
  CHECK(report(40 << 20).find("can explain") == std::string::npos);
}

TEST_CASE("sampled figures carry marks and intervals, and doubt is marked") {
  FakeProcess process;
  process.header.mode = SamplingMode::kPoissonBytes;
  process.header.interval_bytes = 512 * 1024;
  const auto put = process.stack({kPut, kMain});
  const Snapshot then = process.snapshot_at(10);
  process.allocate(put, 1024, 20);
  const std::string one = text_of(process, {then, process.snapshot_at(30)});
  CHECK(one.find("#1  /src/cache.cc:88  Cache::put(int)\n    ~+513 KiB ? (95 %: ") != std::string::npos);
  CHECK(one.find("may be chance") != std::string::npos);
  for (int i = 0; i < 99; ++i) process.allocate(put, 1024, 20);
  const std::string hundred = text_of(process, {then, process.snapshot_at(40)});
  CHECK(hundred.find("~+50.0 MiB (95 %: ") != std::string::npos);
  CHECK(hundred.find(" ? ") == std::string::npos);
}

TEST_CASE("JSON has the documented fields with raw integers") {
  Leak leak;
  const auto json = json_of(leak.process, {leak.then, leak.now});
  CHECK(json["schema"] == "memtrace.diff/1");
  CHECK(json["same_process"] == true);
  CHECK(json["verdict"] == "leak");
  CHECK(json["old"]["file"] == "a.snap");
  CHECK(json["new"]["time"] == "2026-09-21T14:15:10Z");
  CHECK(json["new"]["rss"] == 11 << 20);
  CHECK(json["sampling"] == nlohmann::json({{"interval_bytes", 1}, {"estimated", false}}));
  CHECK(json["totals"]["size"] == nlohmann::json({{"old", 25480}, {"new", 122880}, {"diff", 97400}}));
  REQUIRE(json["sites"].size() == 2);
  const auto& site = json["sites"][0];
  CHECK(site["rank"] == 1);
  CHECK(site["key"] == "/src/cache.cc:88");
  CHECK(site["function"] == "Cache::put(int)");
  CHECK(site["file"] == "/src/cache.cc");
  CHECK(site["line"] == 88);
  CHECK(site["module"] == "payments");
  CHECK(site["build_id"] == "abcd");
  CHECK(site["count"] == nlohmann::json({{"old", 20}, {"new", 120}, {"diff", 100}}));
  CHECK(site["samples"] == nlohmann::json({{"old", 20}, {"new", 120}, {"born", 100}, {"died", 0}}));
  CHECK(site["size_diff_ci95"] == nlohmann::json({102400, 102400}));
  REQUIRE(site["stack"].size() == 4);
  CHECK(site["stack"][0]["file"].is_null());
  CHECK(site["stack"][0]["line"].is_null());
  CHECK(site["stack"][1]["inline"] == true);
  CHECK(site["stack"][2]["offset"] == "0x1001");
  CHECK(site["stack"][2]["address"] == "0x555500000001");
}

TEST_CASE("JSON of one snapshot has an empty old side") {
  Leak leak;
  const auto json = json_of(leak.process, {leak.then});
  CHECK(json["schema"] == "memtrace.live/1");
  CHECK(json["old"]["live_bytes"] == 0);
  CHECK(json["old"]["file"].is_null());
  CHECK(json["sites"][0]["size"] == nlohmann::json({{"old", 0}, {"new", 20480}, {"diff", 20480}}));
  CHECK(json["verdict"] == "unknown");
}

TEST_CASE("JSON stays valid with names that are not UTF-8") {
  FakeProcess process;
  process.header.exe = "/srv/\xff\xfe\"\n";
  process.allocate(process.stack({{"f\xc3", "a\x80.cc", 1, false}}), 1);
  CHECK(json_of(process, {process.snapshot_at(2)})["sites"].size() == 1);
}

TEST_CASE("names cannot drive the terminal") {
  FakeProcess process;
  process.header.exe = "/srv/\033[2Jx";
  process.allocate(process.stack({{"f\033]0;x\007", "a\n.cc", 1, false}}), 1);
  const std::string text = text_of(process, {process.snapshot_at(2)});
  CHECK(text.find('\033') == std::string::npos);
  CHECK(text.find("a\\x0a.cc:1") != std::string::npos);
}

TEST_CASE("two processes have new and old samples, and different programs are named") {
  FakeProcess one;
  FakeProcess other;
  one.allocate(one.stack({kPut, kMain}), 10);
  other.allocate(other.stack({kPut, kMain}), 20);
  other.allocate(other.stack({kPut, kMain}), 20);
  other.header.session.bytes[0] = 9;
  const auto text = [&] { return text_of(one, {one.snapshot_at(2), other.snapshot_at(3)}); };
  CHECK(text().find("samples: 2 new, 1 old\n") != std::string::npos);
  CHECK(text().find("warning: two processes") != std::string::npos);
  CHECK(text().find("different programs") == std::string::npos);
  other.build_id = "ef01";
  CHECK(text().find("warning: two builds of one program") != std::string::npos);
  other.header.exe = "/srv/jav\033a";
  CHECK(text().find("warning: the snapshots are of different programs: payments and jav\\x1ba") !=
        std::string::npos);
}

TEST_CASE("pairs that need a word of warning get one") {
  Leak leak;
  const auto warning = [&](std::vector<Snapshot> snapshots) {
    const auto warnings = run(leak.process, std::move(snapshots), {}).value().warnings;
    return warnings.empty() ? "" : warnings.front();
  };
  CHECK(warning({leak.then, leak.now}) == "");
  CHECK(warning({leak.now, leak.then}).find("newest first; OLD is b.snap, NEW is a.snap") !=
        std::string::npos);
  CHECK(warning({leak.now, leak.now}).find("same snapshot") != std::string::npos);
  Snapshot other = leak.now;
  other.session.bytes[0] = 99;
  CHECK(warning({leak.then, other}).find("nothing cancels") != std::string::npos);
  Snapshot sampled = leak.now;
  sampled.mode = SamplingMode::kPoissonBytes;
  sampled.interval_bytes = 4096;
  CHECK(warning({leak.then, sampled}).find("different intervals") != std::string::npos);
}

TEST_CASE("swapped snapshots are compared in the order of time") {
  Leak leak;
  const auto json = json_of(leak.process, {leak.now, leak.then});
  CHECK(json["old"]["file"] == "b.snap");
  CHECK(json["totals"]["size"]["diff"] == 97400);
}

TEST_CASE("a wall clock that was set back swaps nothing") {
  Leak leak;
  leak.now.realtime_ns = leak.then.realtime_ns - 3600 * FakeProcess::kSecond;
  const auto json = json_of(leak.process, {leak.then, leak.now});
  CHECK(json["old"]["file"] == "a.snap");
  CHECK(json["totals"]["size"]["diff"] == 97400);
}

TEST_CASE("what the shim lost is said") {
  Leak leak;
  leak.now.self = {{"lost_table_full", 3}, {"lost_lock", 4}, {"failed_unwinds", 2}, {"truncated_stacks", 1}};
  const std::string text = text_of(leak.process, {leak.then, leak.now});
  CHECK(text.find("lost 7 events") != std::string::npos);
  CHECK(text.find("1 stacks were cut at 64 frames") != std::string::npos);
  CHECK(text.find("2 stacks could not be unwound") != std::string::npos);
  CHECK(json_of(leak.process, {leak.then, leak.now})["self"] ==
        nlohmann::json({{"lost", 7}, {"truncated_stacks", 1}, {"failed_unwinds", 2}}));
}

TEST_CASE("functions give way to the terminal's width, places never") {
  FakeProcess process;
  const std::string name =
      "void shop::process<std::map<int, std::vector<int> > >(std::map<int, std::vector<int> >&)";
  const std::string file = "/a/very/long/path/that/is/longer/than/the/terminal/is/wide/cart.cc";
  process.allocate(process.stack({{name, file, 5, false}}), 10);
  std::vector<NamedSnapshot> snapshots = {{"a.snap", process.snapshot_at(2)}};
  FakeSymbolizer symbols(process);
  const std::string text = make_report(snapshots, {}, symbols, {.color = false, .width = 60}).value().text;
  CHECK(text.find(file + ":5") != std::string::npos);
  CHECK(text.find(name) == std::string::npos);
  CHECK(text.find("...") != std::string::npos);
}

TEST_CASE("colour never carries meaning alone") {
  Leak leak;
  std::vector<NamedSnapshot> snapshots = {{"a.snap", leak.then}, {"b.snap", leak.now}};
  FakeSymbolizer symbols(leak.process);
  const std::string colored = make_report(snapshots, {}, symbols, {.color = true}).value().text;
  CHECK(colored.find("\033[") != std::string::npos);
  CHECK(without_colour(colored) == text_of(leak.process, {leak.then, leak.now}));
}

TEST_CASE("an empty snapshot is reported, not divided by") {
  FakeProcess process;
  const Snapshot empty = process.snapshot_at(1);
  CHECK(text_of(process, {empty}).find("No call sites to show.") != std::string::npos);
  CHECK(text_of(process, {empty, process.snapshot_at(2)}).find("No call site changed.") != std::string::npos);
  CHECK(json_of(process, {empty})["sites"].empty());
}
