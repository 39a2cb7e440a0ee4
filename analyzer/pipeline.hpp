// From snapshots in memory to the text of a report: index, compare, group, rank, judge, print.
//
// Free of files and terminals, so that tests run all of it on made-up snapshots and symbols.
#pragma once

#include <string>
#include <vector>

#include "analyzer/options.hpp"
#include "analyzer/progress.hpp"
#include "analyzer/symbols/symbolizer.hpp"
#include "format/result.hpp"
#include "format/snapshot.hpp"

namespace memtrace {

struct NamedSnapshot {
  std::string file;
  Snapshot snapshot;
};

struct Surroundings {
  bool color = false;
  std::size_t width = 0;  // columns; 0: no limit
  Progress::Show progress = Progress::Show::kNever;
};

struct Report {
  std::string text;
  std::vector<std::string> warnings;  // also in the text, where its form has a place for them
};

// `snapshots`: one or two, as on the command line; two of one process are put into the order of time. The
// error is a sentence about the options.
[[nodiscard]] Result<Report, std::string> make_report(std::vector<NamedSnapshot>& snapshots,
                                                      const Options& options, Symbolizer& symbolizer,
                                                      const Surroundings& surroundings);

}  // namespace memtrace
