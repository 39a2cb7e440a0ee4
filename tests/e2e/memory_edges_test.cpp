// What would break: the program's heap would be another one than without the shim, or the shim would take
// memory that the program needs.
#include <signal.h>
#include <sys/personality.h>
#include <sys/resource.h>

#include <sstream>

#include "tests/support/catch.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

void at_fixed_addresses() { personality(ADDR_NO_RANDOMIZE); }

TEST_CASE("the allocator's figures and what odd requests get are as without the shim") {
  const char* which = GENERATE("figures", "odd_requests");
  CAPTURE(which);
  Preloaded bare("memory_edges", {which});
  const Ending expected = bare.without_shim().in_child(at_fixed_addresses).run();
  REQUIRE(expected.exit_code == 0);
  REQUIRE(expected.out.size() > 500);
  for (const char* sample : {"all", "64", "512KiB"}) {
    CAPTURE(sample);
    Preloaded victim("memory_edges", {which});
    const Ending ending = victim.set("MEMTRACE_SAMPLE", sample).in_child(at_fixed_addresses).run();
    CHECK(ending.exit_code == 0);
    CHECK(ending.out == expected.out);
    CHECK(ending.err.empty());
  }
}

TEST_CASE("a block that was freed behind our back is live until its address comes again, and no longer") {
  for (const char* sample : {"all", "1"}) {
    CAPTURE(sample);
    Preloaded victim("memory_edges", {"freed_elsewhere"});
    REQUIRE(victim.set("MEMTRACE_SAMPLE", sample).run().exit_code == 0);
    const Snapshot one = victim.snapshot(0);
    CHECK(sites_of(one)["kept_here"] == Held{100, 1});
    CHECK(one.self.at("replaced_records") == 999);
    CHECK(sites_of(victim.snapshot(1)).count("kept_here") == 0);
  }
}

TEST_CASE(
    "at the cap of the shim's memory blocks are lost and counted, and the program gets all of its own") {
  struct Case {
    std::uint64_t blocks;
    rlim_t limit;  // at the start
    std::uint64_t cap;
  };
  const auto [blocks, limit, cap] =
      GENERATE(Case{400'000, RLIM_INFINITY, 128 * kMiB}, Case{150'000, 256 * kMiB, 64 * kMiB});
  CAPTURE(blocks);
  Preloaded victim("memory_edges", {"past_the_cap", std::to_string(blocks)});
  victim.in_child([room = rlimit{limit, RLIM_INFINITY}] {
    if (setrlimit(RLIMIT_AS, &room) != 0) _exit(125);
  });
  const Ending ending = victim.set("MEMTRACE_SAMPLE", "1").run();
  CAPTURE(ending.err);
  REQUIRE(ending.exit_code == 0);
  const Snapshot snapshot = victim.snapshot(0);
  const std::uint64_t lost = snapshot.self.at("lost_table_full") + snapshot.self.at("lost_stack_store_full");
  const std::uint64_t samples = snapshot.self.at("samples");
  CAPTURE(lost, samples, snapshot.self.at("own_bytes"));
  CHECK(lost > 0);
  CHECK(samples > 50'000);
  CHECK(samples + lost >= blocks);
  CHECK(snapshot.self.at("own_bytes") <= cap);
  CHECK(sites_of(snapshot).empty());
  CHECK(snapshot.self.at("samples_freed") == samples);
}

TEST_CASE("a limit on memory that leaves little leaves it to the program") {
  const int limit = GENERATE(RLIMIT_AS, RLIMIT_DATA);
  CAPTURE(limit);
  Preloaded bare("memory_edges", {"modest"});
  const Ending expected = bare.without_shim().run();
  REQUIRE(expected.exit_code == 0);
  const std::uint64_t needed = std::stoull(expected.out) * 1024;
  bool traced = false;
  for (const std::uint64_t more : {2u, 3u, 4u, 5u, 6u, 8u, 12u, 24u, 48u, 64u, 96u}) {
    CAPTURE(more);
    Preloaded victim("memory_edges", {"modest"});
    victim.in_child([=] {
      const rlimit room{needed + more * kMiB, RLIM_INFINITY};
      if (setrlimit(limit, &room) != 0) _exit(125);
    });
    const Ending ending = victim.exact().run();
    CAPTURE(ending.err);
    CHECK(ending.signal == 0);
    CHECK(ending.exit_code == 0);
    traced = !victim.snapshot_files().empty();
    CHECK(ending.err.empty() == traced);
  }
  CHECK(traced);  // with the most of them
}

TEST_CASE("a program that locks its memory is traced, and little is locked for it") {
  const Ending bare = Preloaded("memory_edges", {"locked"}).without_shim().run();
  if (bare.exit_code == 77) {
    WARN("may not lock memory");
    return;
  }
  REQUIRE(bare.exit_code == 0);
  Preloaded victim("memory_edges", {"locked"});
  const Ending ending = victim.run();
  CAPTURE(ending.err);
  REQUIRE(ending.exit_code == 0);
  CHECK(victim.snapshot_files().size() == 1);
  CHECK(std::stoull(ending.out) < std::stoull(bare.out) + 16 * 1024);
}

TEST_CASE("sixty-four threads leave every call site exact, and nothing is lost to a lock") {
  Preloaded victim("memory_edges", {"many_threads"});
  const Ending ending = victim.exact().run();
  REQUIRE(ending.exit_code == 0);
  const auto reports = reports_in(ending.out);
  REQUIRE(reports.size() == 1);
  const Snapshot snapshot = read_or_fail(reports[0].file);
  Sites found = sites_of(snapshot);
  CHECK(found["of_many_threads"] == reports[0].truth.at("of_many_threads"));
  CHECK(found.count("soon_gone") == 0);
  CHECK(snapshot.self.at("lost_lock") == 0);
}

TEST_CASE("nothing of the shim's settles where the program took its own pages away") {
  Preloaded pieces("maps_again", {"pieces"});
  const Ending in_pieces = pieces.exact().run();
  CAPTURE(in_pieces.err);
  CHECK(in_pieces.exit_code == 0);

  Preloaded snapshots("maps_again", {"snapshots"});
  snapshots.exact().start();
  CHECK(snapshots.read_line() == "ready");
  for (std::size_t count = 1; count <= 20 && snapshots.errors().empty(); ++count) {
    snapshots.kill(SIGUSR2);
    snapshots.wait_for_snapshots(count);
  }
  snapshots.kill(SIGTERM);
  const Ending meanwhile = snapshots.finish();
  CAPTURE(meanwhile.err);
  CHECK(meanwhile.exit_code == 0);
}

TEST_CASE("after random changes the known pages are those that the kernel lists") {
  for (const char* seed : {"1", "2", "3"}) {
    CAPTURE(seed);
    Preloaded victim("random_maps", {seed});
    const Ending ending = victim.exact().run();
    CAPTURE(ending.err);
    REQUIRE(ending.exit_code == 0);
    std::istringstream lines(ending.out);
    std::string word;
    std::uint64_t usable = 0;
    for (std::size_t turn = 0; lines >> word >> usable; ++turn) {
      CAPTURE(turn);
      const Snapshot snapshot = victim.snapshot(turn);
      std::uint64_t known = 0;
      for (const Record& record : snapshot.records) {
        if (record.kind == AllocKind::kMmap && record.address >> 44 == 1) known += record.size_bytes;
      }
      CHECK(known == usable);
      CHECK(snapshot.self.at("lost_maps") == 0);
    }
    CHECK(victim.snapshot_files().size() == 20);
  }
}

}  // namespace
}  // namespace memtrace::test
