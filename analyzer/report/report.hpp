// What every output form gets, and the forms: one function and one file each.
//
// The forms return the whole text, ending in a newline. All strings of snapshots and symbols are untrusted:
// text forms print no control characters of theirs.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "analyzer/diff.hpp"
#include "analyzer/frame_names.hpp"
#include "analyzer/verdict.hpp"

namespace memtrace {

struct ReportInput {
  std::string old_file;  // empty: one snapshot alone
  std::string current_file;
  const Snapshot* old = nullptr;  // null: one snapshot alone
  const Snapshot* current = nullptr;
  const Growth* growth = nullptr;
  FrameNames* names = nullptr;
  const Symbolizer* symbolizer = nullptr;  // for its notes, after the rows were symbolized
  Grouping grouping;
  Verdict verdict;
  std::vector<std::string> warnings;
};

struct ReportStyle {
  std::size_t top = 10;     // rows; 0: all
  std::size_t frames = 12;  // stack lines under a row; 0: all
  std::size_t width = 0;    // columns of the terminal; 0: no limit
  bool color = false;
  bool verbose = false;
  bool quiet = false;  // rows alone
};

[[nodiscard]] std::string text_report(const ReportInput& input, const ReportStyle& style);
// CPython's lines: "FILE:LINE: size=58.7 KiB (+58.7 KiB), count=738 (+738), average=81 B".
[[nodiscard]] std::string tracemalloc_report(const ReportInput& input, const ReportStyle& style);
[[nodiscard]] std::string json_report(const ReportInput& input, const ReportStyle& style);

// A row of any form: one call site with the frames of the stack to show.
struct Row {
  const CallSite* site = nullptr;
  std::vector<Frame> frames;  // innermost first; may be empty
  std::size_t naming = 0;     // of frames: what the site is named after
  std::string key;            // "src/cache.cc:88", or what the report groups by
  std::string function;       // empty when unknown
};

[[nodiscard]] Row make_row(const ReportInput& input, std::uint32_t site);

// Sums of the shim's counters; what it lost in the newest snapshot.
struct Losses {
  std::uint64_t lost = 0;
  std::uint64_t truncated_stacks = 0;
  std::uint64_t failed_unwinds = 0;
};

[[nodiscard]] Losses losses_of(const Snapshot& snapshot);

}  // namespace memtrace
