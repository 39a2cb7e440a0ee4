// Would break: which rows a report has, what they are called and in which order they come.
#include "analyzer/pipeline.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/reports.hpp"

using namespace memtrace;
using test::FakeProcess;
using test::FakeSymbolizer;
using test::json_of;
using test::kLog;
using test::kMain;
using test::kNew;
using test::kPut;
using test::Leak;
using test::run;
using test::text_of;

TEST_CASE("a row without a name of its own shows its nearest named caller") {
  FakeProcess process;
  const SourceFrame unnamed;
  const SourceFrame caller{"_PyObject_Malloc", "", 0, false};
  process.allocate(process.stack({unnamed, caller, kMain}), 10);
  CHECK(text_of(process, {process.snapshot_at(2)})
            .find("#1  payments+0x1000  (called from _PyObject_Malloc)\n") != std::string::npos);
  FakeProcess nameless;
  nameless.allocate(nameless.stack({unnamed}), 10);
  CHECK(text_of(nameless, {nameless.snapshot_at(2)}).find("called from") == std::string::npos);
}

TEST_CASE("grouping by symbol merges stacks, and passes wrappers over") {
  FakeProcess process;
  process.allocate(process.stack({kNew, kPut, kMain}), 10);
  process.allocate(process.stack({kPut, kLog, kMain}), 20);
  process.allocate(process.stack({{"Cache::put(int)", "/src/cache.cc", 90, false}, kMain}), 40);
  const Snapshot now = process.snapshot_at(2);
  Options options;
  const auto keys = [&] {
    std::vector<std::pair<std::string, int>> result;
    const auto json = json_of(process, {now}, options);
    for (const auto& site : json["sites"]) {
      result.emplace_back(site["key"], site["size"]["new"].get<int>());
    }
    return result;
  };
  using Keys = std::vector<std::pair<std::string, int>>;
  SECTION("traceback") {
    CHECK(keys() == Keys{{"/src/cache.cc:90", 40}, {"/src/cache.cc:88", 20}, {"/src/cache.cc:88", 10}});
  }
  SECTION("lineno") {
    options.group_by = GroupBy::kLineno;
    CHECK(keys() == Keys{{"/src/cache.cc:90", 40}, {"/src/cache.cc:88", 30}});
  }
  SECTION("filename") {
    options.group_by = GroupBy::kFilename;
    CHECK(keys() == Keys{{"/src/cache.cc", 70}});
  }
  SECTION("function") {
    options.group_by = GroupBy::kFunction;
    CHECK(keys() == Keys{{"Cache::put(int)", 70}});
  }
  SECTION("module") {
    options.group_by = GroupBy::kModule;
    CHECK(keys() == Keys{{"/srv/payments", 70}});
  }
  SECTION("no wrappers passed over") {
    options.group_by = GroupBy::kFunction;
    options.skip_wrappers = false;
    CHECK(keys() == Keys{{"Cache::put(int)", 60}, {"operator new(unsigned long)", 10}});
  }
  SECTION("cumulative") {
    options.group_by = GroupBy::kFunction;
    options.cumulative = true;
    CHECK(keys() == Keys{{"Cache::put(int)", 70}, {"main", 70}, {"log_line(char const*)", 20}});
  }
  SECTION("focus") {
    options.focus = {"log\\.cc:7$"};
    CHECK(keys() == Keys{{"/src/cache.cc:88", 20}});
  }
  SECTION("ignore") {
    options.ignore = {"operator new", "log_line"};
    CHECK(keys() == Keys{{"/src/cache.cc:90", 40}});
  }
  SECTION("min") {
    options.min_bytes = 20;
    CHECK(keys().size() == 2);
  }
}

TEST_CASE("an allocator that everybody knows is passed over, the program's own is named") {
  const auto first = [](const std::string& allocator) {
    FakeProcess process;
    process.allocate(process.stack({kNew, {allocator, "/src/pool.c", 31, false}, kPut, kMain}), 10);
    return json_of(process, {process.snapshot_at(2)})["sites"][0]["key"].get<std::string>();
  };
  CHECK(first("xmalloc") == "/src/cache.cc:88");
  CHECK(first("my_pool_malloc") == "/src/pool.c:31");
}

TEST_CASE("recursion counts once in cumulative groups") {
  FakeProcess process;
  process.allocate(process.stack({kPut, kPut, kPut, kMain}), 10);
  Options options;
  options.group_by = GroupBy::kFunction;
  options.cumulative = true;
  const auto json = json_of(process, {process.snapshot_at(2)}, options);
  for (const auto& site : json["sites"]) CHECK(site["size"]["new"] == 10);
}

TEST_CASE("threads are rows by their names") {
  FakeProcess process;
  process.header.threads = {{1, {100, "worker"}}, {2, {101, "worker"}}};
  const auto put = process.stack({kPut, kMain});
  process.allocate(put, 10, 1, AllocKind::kHeap, 1);
  process.allocate(put, 20, 1, AllocKind::kHeap, 2);
  process.allocate(put, 40, 1, AllocKind::kHeap, 9);
  Options options;
  options.group_by = GroupBy::kThread;
  const auto json = json_of(process, {process.snapshot_at(2)}, options);
  REQUIRE(json["sites"].size() == 3);
  CHECK(json["sites"][0]["key"] == "thread #9");
  CHECK(json["sites"][1]["key"] == "worker (tid 101)");
  CHECK(json["sites"][2]["key"] == "worker (tid 100)");
}

TEST_CASE("a large shrink does not outrank a leak, but by abs and size") {
  FakeProcess process;
  const auto shrinks = process.stack({kLog, kMain});
  const auto grows = process.stack({kPut, kMain});
  const auto big = process.allocate(shrinks, 1 << 20);
  process.allocate(shrinks, 5000);
  const Snapshot then = process.snapshot_at(10);
  process.free(big);
  process.allocate(grows, 100, 11);
  const Snapshot now = process.snapshot_at(20);
  Options options;
  const auto first = [&] {
    return json_of(process, {then, now}, options)["sites"][0]["key"].get<std::string>();
  };
  CHECK(first() == "/src/cache.cc:88");
  options.sort = SortKey::kCount;
  CHECK(first() == "/src/cache.cc:88");
  options.sort = SortKey::kLower;
  CHECK(first() == "/src/cache.cc:88");
  options.sort = SortKey::kAbs;
  CHECK(first() == "/src/log.cc:7");
  options.sort = SortKey::kSize;
  CHECK(first() == "/src/log.cc:7");
  options.growth_only = true;
  CHECK(json_of(process, {then, now}, options)["sites"].size() == 1);
}

TEST_CASE("tracebacks are symbolized only where they are printed") {
  FakeProcess process;
  for (std::uint32_t i = 1; i <= 500; ++i) process.allocate(process.stack({{"f", "a.cc", i, false}}), i);
  std::vector<NamedSnapshot> snapshots = {{"a.snap", process.snapshot_at(2)}};
  FakeSymbolizer symbols(process);
  REQUIRE(make_report(snapshots, {}, symbols, {}).ok());
  CHECK(symbols.asked == 10);
}

TEST_CASE("expressions that do not compile are named") {
  Leak leak;
  Options options;
  options.focus = {"a("};
  const auto result = run(leak.process, {leak.then}, options);
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().find("--focus 'a(': ") == 0);
}

TEST_CASE("a stack without frames is a row") {
  FakeProcess process;
  process.allocate(process.stack_of({}), 10);
  const GroupBy by = GENERATE(GroupBy::kTraceback, GroupBy::kLineno, GroupBy::kThread);
  for (const auto format : {OutputFormat::kText, OutputFormat::kTracemalloc, OutputFormat::kJson}) {
    Options options;
    options.group_by = by;
    options.format = format;
    CHECK_FALSE(text_of(process, {process.snapshot_at(2)}, options).empty());
  }
}
