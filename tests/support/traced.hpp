// A body run under the tracker, in a child; and what the tables say meanwhile.
#pragma once

#include <string_view>
#include <vector>

#include "preload/counters.hpp"
#include "tests/support/stages.hpp"

namespace memtrace::test {

template <class F>
bool traced(F body, Options options = exact_options("/tmp")) {
  return in_child([&] {
           start_stages(options);
           body();
         })
      .fine();
}

inline std::uint64_t live_records() {
  std::uint64_t count = 0;
  std::vector<LiveRecord> copy;
  for (std::uint32_t shard = 0; shard < g_tracker.live.shard_count(); ++shard) {
    copy.resize(g_tracker.live.records_in(shard));
    count += g_tracker.live.copy_shard(shard, copy.data(), copy.size());
  }
  return count;
}

// What the tables lost, under any name.
inline std::uint64_t lost() {
  std::uint64_t sum = 0;
#define MEMTRACE_COUNTER(name, meaning) \
  if (std::string_view(#name).starts_with("lost_")) sum += g_counters.name;
#include "preload/counters.inc"
#undef MEMTRACE_COUNTER
  return sum;
}

inline Options sampled_options(std::uint64_t interval) {
  Options options = exact_options("/tmp");
  options.sample = {SamplingMode::kPoissonBytes, interval};
  return options;
}

}  // namespace memtrace::test
