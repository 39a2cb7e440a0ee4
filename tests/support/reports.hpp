// Reports of made-up processes: the whole way from snapshots to text and JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "analyzer/pipeline.hpp"
#include "tests/support/fake_process.hpp"

namespace memtrace::test {

inline Result<Report, std::string> run(const FakeProcess& process, std::vector<Snapshot> snapshots,
                                       const Options& options) {
  FakeSymbolizer symbols(process);
  std::vector<NamedSnapshot> named;
  for (std::size_t i = 0; i < snapshots.size(); ++i) {
    named.push_back({i == 0 ? "a.snap" : "b.snap", std::move(snapshots[i])});
  }
  return make_report(named, options, symbols, {});
}

inline std::string text_of(const FakeProcess& process, std::vector<Snapshot> snapshots,
                           const Options& options = {}) {
  return run(process, std::move(snapshots), options).value().text;
}

inline nlohmann::json json_of(const FakeProcess& process, std::vector<Snapshot> snapshots,
                              Options options = {}) {
  options.format = OutputFormat::kJson;
  return nlohmann::json::parse(text_of(process, std::move(snapshots), options));
}

inline const SourceFrame kNew{"operator new(unsigned long)", "", 0, false};
inline const SourceFrame kAllocate{"std::__new_allocator<Entry>::allocate(unsigned long, void const*)",
                                   "/usr/include/c++/12/bits/new_allocator.h", 137, true};
inline const SourceFrame kPut{"Cache::put(int)", "/src/cache.cc", 88, false};
inline const SourceFrame kMain{"main", "/src/main.cc", 12, false};
inline const SourceFrame kLog{"log_line(char const*)", "/src/log.cc", 7, false};

// A steady leak of 100 blocks at cache.cc:88 over 100 s, and a log buffer that is given back.
struct Leak {
  FakeProcess process;
  Snapshot then;
  Snapshot now;

  Leak() {
    const auto put = process.stack_of(
        {process.location({kNew}), process.location({kAllocate, kPut}), process.location({kMain})});
    const auto log = process.stack({kLog, kMain});
    for (int i = 0; i < 20; ++i) process.allocate(put, 1024, 5);
    const auto line = process.allocate(log, 5000, 6);
    process.header.rss_bytes = 10 << 20;
    then = process.snapshot_at(10);
    process.free(line);
    for (int i = 0; i < 100; ++i) process.allocate(put, 1024, 10 + i);
    process.header.rss_bytes = 11 << 20;
    now = process.snapshot_at(110);
  }
};

}  // namespace memtrace::test
