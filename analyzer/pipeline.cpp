#include "analyzer/pipeline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "analyzer/code_index.hpp"
#include "analyzer/compare.hpp"
#include "analyzer/diff.hpp"
#include "analyzer/filter.hpp"
#include "analyzer/report/report.hpp"
#include "analyzer/verdict.hpp"

namespace memtrace {
namespace {

bool taken_after(const Snapshot& a, const Snapshot& b) {
  return a.monotonic_ns != b.monotonic_ns ? a.monotonic_ns > b.monotonic_ns : a.sequence > b.sequence;
}

// The first module is the executable.
void warn_of_other_program(const Snapshot& old, const Snapshot& current, std::vector<std::string>& warnings) {
  const bool known = !old.modules.empty() && !current.modules.empty();
  const bool same_build = known && old.modules[0].build_id == current.modules[0].build_id;
  const std::string old_name = base_name(old.exe);
  const std::string current_name = base_name(current.exe);
  if (old_name != current_name && !(same_build && !old.modules[0].build_id.empty())) {
    warnings.push_back(fmt::format("the snapshots are of different programs: {} and {}",
                                   old_name.empty() ? "[unknown]" : old_name,
                                   current_name.empty() ? "[unknown]" : current_name));
  } else if (known && !same_build) {
    warnings.push_back(
        "two builds of one program: their stacks do not match by address; -g function compares names");
  }
}

// Puts two snapshots of one process into the order of time, and says what the reader must know about the
// pair.
std::vector<std::string> order_and_warn(std::vector<NamedSnapshot>& snapshots) {
  std::vector<std::string> warnings;
  for (const auto& [file, snapshot] : snapshots) {
    for (const auto& warning : snapshot.warnings) warnings.push_back(file + ": " + warning);
  }
  if (snapshots.size() < 2) return warnings;
  auto& old = snapshots[0];
  auto& current = snapshots[1];
  const bool same_process = old.snapshot.session == current.snapshot.session;
  if (same_process && old.snapshot.sequence == current.snapshot.sequence &&
      old.snapshot.monotonic_ns == current.snapshot.monotonic_ns) {
    warnings.push_back("OLD and NEW are the same snapshot: every difference is 0");
  } else if (same_process && taken_after(old.snapshot, current.snapshot)) {
    // Within one process only one order makes sense: births and verdicts depend on it.
    std::swap(old, current);
    warnings.push_back(
        fmt::format("the snapshots were given newest first; OLD is {}, NEW is {}", old.file, current.file));
  } else if (!same_process && old.snapshot.realtime_ns > current.snapshot.realtime_ns) {
    warnings.push_back("OLD was taken after NEW (two processes: compared in the order given)");
  }
  if (!same_process)
    warnings.push_back("two processes: blocks cannot be matched, nothing cancels, intervals are wide");
  if (old.snapshot.mode != current.snapshot.mode ||
      old.snapshot.interval_bytes != current.snapshot.interval_bytes) {
    warnings.push_back("the snapshots were sampled at different intervals: no test of growth");
  }
  if (!same_process) warn_of_other_program(old.snapshot, current.snapshot, warnings);
  return warnings;
}

std::vector<bool> filtered(const Comparison& comparison, const StackFilter& filter, FrameNames& names,
                           Progress::Show show) {
  std::vector<bool> wanted(comparison.bins.size(), true);
  if (filter.empty()) return wanted;
  Progress progress("symbolizing", wanted.size(), show);
  for (std::size_t bin = 0; bin < wanted.size(); ++bin) {
    wanted[bin] = filter.keeps(names.frames(comparison.bins[bin].stack));
    progress.step();
  }
  return wanted;
}

std::string print(const ReportInput& input, const Options& options, const Surroundings& surroundings) {
  const ReportStyle style{.top = options.top,
                          .frames = options.frames,
                          .width = surroundings.width,
                          .color = surroundings.color,
                          .verbose = options.verbose,
                          .quiet = options.quiet};
  switch (options.format) {
    case OutputFormat::kTracemalloc:
      return tracemalloc_report(input, style);
    case OutputFormat::kJson:
      return json_report(input, style);
    default:
      return text_report(input, style);
  }
}

}  // namespace

Result<Report, std::string> make_report(std::vector<NamedSnapshot>& snapshots, const Options& options,
                                        Symbolizer& symbolizer, const Surroundings& surroundings) {
  auto filter = StackFilter::make(options.focus, options.ignore);
  if (!filter) return filter.error();

  ReportInput input;
  input.warnings = order_and_warn(snapshots);
  const bool single = snapshots.size() == 1;
  const NamedSnapshot& current = snapshots.back();
  const bool same_process = single || snapshots[0].snapshot.session == current.snapshot.session;
  const bool by_thread = options.group_by == GroupBy::kThread;

  // The new snapshot is numbered first: addresses shown are its own.
  CodeIndex index;
  ThreadTable threads(same_process ? ThreadTable::SameBy::kSerial : ThreadTable::SameBy::kName);
  const auto side_of = [&](const Snapshot& snapshot) {
    return Side{&snapshot, index.add(snapshot), by_thread ? threads.add(snapshot) : ThreadTable::Numbers{}};
  };
  const Side current_side = side_of(current.snapshot);
  const Side old_side = single ? Side{} : side_of(snapshots[0].snapshot);
  Comparison comparison = compare(single ? nullptr : &old_side, current_side, index.stack_count(),
                                  by_thread ? BinBy::kStackAndThread : BinBy::kStack);

  FrameNames names(index, symbolizer);
  input.grouping = {.by = options.group_by,
                    .cumulative = options.cumulative,
                    .skip_wrappers = options.skip_wrappers,
                    .by_source_lines = options.format == OutputFormat::kTracemalloc};
  if (groups_by_symbols(input.grouping) || !filter.value().empty())
    names.prepare(comparison.bins, surroundings.progress);
  const auto wanted = filtered(comparison, filter.value(), names, surroundings.progress);
  Progress progress("symbolizing", comparison.bins.size(), surroundings.progress);
  CallSites call_sites = group(comparison, wanted, input.grouping, names, threads, progress);
  const Growth growth = rank(std::move(comparison), std::move(call_sites),
                             {.sort = options.sort,
                              .min_bytes = static_cast<std::int64_t>(options.min_bytes),
                              .growth_only = options.growth_only});

  input.current_file = current.file;
  input.current = &current.snapshot;
  if (!single) {
    input.old_file = snapshots[0].file;
    input.old = &snapshots[0].snapshot;
  }
  input.growth = &growth;
  input.names = &names;
  input.symbolizer = &symbolizer;
  input.verdict = judge(growth, input.old, *input.current);
  return Report{print(input, options, surroundings), input.warnings};
}

}  // namespace memtrace
