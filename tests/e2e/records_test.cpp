// What would break: a report would point at the wrong line, thread or time, because a stack starts or ends
// in the wrong place or a record carries what belongs to another.
#include <algorithm>
#include <sstream>

#include "tests/support/catch.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

// The victim's own frames, outermost last; the loader's start-up code below main differs by unwinder.
std::vector<Place> program_frames(const Snapshot& snapshot, const Record& record,
                                  const std::string& program) {
  std::vector<Place> places;
  for (const Place& place : stack_of(snapshot, record)) {
    if (place.module != program) break;
    places.push_back(place);
    if (place.function == "main") break;
  }
  return places;
}

struct Expected {
  const char* kind;
  std::uint64_t size;
  AllocKind recorded;
};
constexpr Expected kExpected[] = {
    {"malloc", 10, AllocKind::kHeap},         {"calloc", 11, AllocKind::kHeap},
    {"realloc", 12, AllocKind::kHeap},        {"reallocarray", 13, AllocKind::kHeap},
    {"posix_memalign", 14, AllocKind::kHeap}, {"aligned_alloc", 15, AllocKind::kHeap},
    {"memalign", 16, AllocKind::kHeap},       {"valloc", 17, AllocKind::kHeap},
    {"pvalloc", 18, AllocKind::kHeap},        {"mmap", 4096, AllocKind::kMmap},
    {"mremap", 12288, AllocKind::kMmap},      {"reserved", 16384, AllocKind::kReserved},
    {"shared", 20480, AllocKind::kShared},
};

TEST_CASE("each hook's record has the line of its call on top and the chain of callers below") {
  for (const std::string program : {"call_chain", "call_chain_fp"}) {
    for (const std::string unwinder : {"cfi", "fp", "libunwind", "boost"}) {
      if (unwinder == "fp" && program == "call_chain") continue;  // keeps no frame pointers
      CAPTURE(program, unwinder);
      Preloaded victim(program);
      const Ending ending = victim.exact().set("MEMTRACE_UNWIND", unwinder).run();
      REQUIRE(ending.exit_code == 0);
      const Snapshot snapshot = victim.snapshot(0);
      CHECK(snapshot.unwinder == unwinder);
      CHECK(snapshot.self.at("failed_unwinds") == 0);

      std::map<std::string, std::uint32_t> lines;
      std::istringstream said(ending.out);
      for (std::string word, kind; said >> word && word == "line";) {
        said >> kind;
        said >> lines[kind];
      }
      for (const Expected& expected : kExpected) {
        CAPTURE(expected.kind);
        const Record* found = nullptr;
        for (const Record& record : snapshot.records) {
          if (record.size_bytes == expected.size && record.kind == expected.recorded &&
              stack_of(snapshot, record)[0].function == "innermost") {
            found = &record;
          }
        }
        REQUIRE(found != nullptr);
        const auto frames = program_frames(snapshot, *found, program);
        REQUIRE(frames.size() == 10);
        CHECK(frames[0].line == lines.at(expected.kind));
        CHECK(frames[0].file == "call_chain.c");
        for (std::size_t i = 1; i < 8; ++i) CHECK(frames[i].function == "middle");
        CHECK(frames[8].function == "outer");
        CHECK(frames[9].function == "main");
      }
    }
  }
}

TEST_CASE("without frame pointers the fp unwinder still has the calling line on top") {
  Preloaded victim("call_chain");
  REQUIRE(victim.exact().set("MEMTRACE_UNWIND", "fp").run().exit_code == 0);
  const Snapshot snapshot = victim.snapshot(0);
  CHECK(sites_of(snapshot).at("innermost").count == 11);
}

TEST_CASE("a stack deeper than MEMTRACE_FRAMES is cut and says so") {
  Preloaded victim("call_chain");
  REQUIRE(victim.exact().set("MEMTRACE_FRAMES", "4").run().exit_code == 0);
  const Snapshot snapshot = victim.snapshot(0);
  CHECK(snapshot.max_frames == 4);
  CHECK(snapshot.self.at("truncated_stacks") >= 9);
  std::size_t seen = 0;
  for (const Record& record : snapshot.records) {
    const Stack& stack = snapshot.stacks[record.stack];
    CHECK(stack.frame_count <= 4);
    if (record.size_bytes < 10 || record.size_bytes > 18 || record.kind != AllocKind::kHeap) continue;
    ++seen;
    CHECK(stack.truncated);
    CHECK(stack.frame_count == 4);
    CHECK(stack_of(snapshot, record)[3].function == "middle");
  }
  CHECK(seen == 9);
}

TEST_CASE("records know their thread and the time of their birth") {
  Preloaded victim("named_threads");
  const Ending ending = victim.exact().run();
  REQUIRE(ending.exit_code == 0);
  std::map<std::uint64_t, std::pair<std::string, std::uint64_t>> threads;  // by the size they allocate
  std::vector<std::int64_t> clock;
  std::istringstream said(ending.out);
  for (std::string word; said >> word;) {
    if (word == "clock") clock.emplace_back(), said >> clock.back();
    if (word != "thread") continue;
    std::string name;
    std::uint64_t tid = 0;
    std::uint64_t size = 0;
    said >> name >> tid >> size;
    threads[size] = {name, tid};
  }
  REQUIRE(threads.size() == 3);
  REQUIRE(clock.size() == 2);

  const Snapshot snapshot = victim.snapshot(0);
  std::map<std::uint32_t, std::vector<Record>> by_thread;
  for (const Record& record : snapshot.records) by_thread[record.thread].push_back(record);
  for (auto& [serial, records] : by_thread) {
    std::sort(records.begin(), records.end(),
              [](const Record& a, const Record& b) { return a.sample_number < b.sample_number; });
    for (std::size_t i = 1; i < records.size(); ++i) {
      CHECK(records[i].birth_ns >= records[i - 1].birth_ns);
      CHECK(records[i].sample_number > records[i - 1].sample_number);
    }
  }
  constexpr std::int64_t kCoarse = 20'000'000;  // the clock of births may lag by a tick
  for (const auto& [size, named] : threads) {
    std::size_t count = 0;
    for (const Record& record : snapshot.records) {
      if (record.size_bytes != size) continue;
      ++count;
      const Thread& thread = snapshot.threads.at(record.thread);
      CHECK(thread.tid == named.second);
      CHECK(thread.name == named.first);
      CHECK(record.birth_ns >= clock[0] - kCoarse);
      CHECK(record.birth_ns <= clock[1]);
    }
    CHECK(count == 10);
  }
  CHECK(snapshot.start_monotonic_ns <= clock[0] + kCoarse);
  CHECK(snapshot.monotonic_ns >= clock[1]);
}

}  // namespace
}  // namespace memtrace::test
