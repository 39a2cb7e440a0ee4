// That a victim said the truth `count` times, and that each snapshot agrees with what it said: returned.
#pragma once

#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {

inline std::vector<Report> check_exact(const Ending& ending, std::size_t count) {
  CAPTURE(ending.err);
  REQUIRE(ending.signal == 0);
  REQUIRE(ending.exit_code == 0);
  const auto reports = reports_in(ending.out);
  REQUIRE(reports.size() == count);
  for (const Report& report : reports) {
    CAPTURE(report.file);
    CHECK(difference(sites_of(read_or_fail(report.file)), report.truth) == "");
  }
  return reports;
}

// The victim ran to its end, and nobody said anything.
inline void check_silent(const Ending& ending) {
  CAPTURE(ending.err);
  CHECK(ending.signal == 0);
  CHECK(ending.exit_code == 0);
  CHECK(ending.err.empty());
}

}  // namespace memtrace::test
