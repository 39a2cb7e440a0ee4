// Lists of address ranges, by start, that may overlap: things with `start` and `end`.
//
// Thread-safety: pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace memtrace {

template <class Range>
void sort_by_start(std::vector<Range>& ranges) {
  std::ranges::stable_sort(ranges, {}, &Range::start);
}

// visit(range) for those that hold the address, the one that starts last before the others, until it returns
// true. No more than `most_steps` ranges are looked at.
template <class Range, class Visit>
void for_each_at(std::uint64_t address, const std::vector<Range>& by_start, std::size_t most_steps,
                 Visit visit) {
  auto range = std::ranges::upper_bound(by_start, address, {}, &Range::start);
  for (std::size_t steps = 0; range != by_start.begin() && steps < most_steps; ++steps) {
    --range;
    if (address < range->end && visit(*range)) return;
  }
}

}  // namespace memtrace
