#include <algorithm>

#include "analyzer/report/report.hpp"

namespace memtrace {

Row make_row(const ReportInput& input, std::uint32_t site) {
  const CallSites& call_sites = input.growth->call_sites;
  Row row;
  row.site = &call_sites.sites[site];
  row.frames = input.names->frames(row.site->stack);
  row.naming = naming_position(call_sites, *row.site, row.frames, input.grouping);
  if (!row.frames.empty()) {
    row.key = line_text(row.frames[row.naming]);
    row.function = function_text(row.frames[row.naming]);
  }
  // Grouped by anything else than single frames' lines, the key is not the naming frame's line.
  if (call_sites.keys.size() > 0 && input.grouping.by != GroupBy::kTraceback &&
      input.grouping.by != GroupBy::kLineno) {
    row.key = call_sites.keys.text(call_sites.keys.lines(row.site->key).front().file);
  }
  if (row.key.empty()) row.key = "[no stack]";
  return row;
}

Losses losses_of(const Snapshot& snapshot) {
  Losses losses;
  for (const auto& [name, count] : snapshot.self) {
    if (name == "lost" || name.starts_with("lost_")) losses.lost += count;
    if (name == "truncated_stacks") losses.truncated_stacks = count;
    if (name == "failed_unwinds") losses.failed_unwinds = count;
  }
  const auto truncated =
      std::ranges::count_if(snapshot.stacks, [](const Stack& stack) { return stack.truncated; });
  losses.truncated_stacks = std::max(losses.truncated_stacks, static_cast<std::uint64_t>(truncated));
  return losses;
}

}  // namespace memtrace
