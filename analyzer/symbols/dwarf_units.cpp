#include "analyzer/symbols/dwarf_units.hpp"

#include <algorithm>
#include <utility>

namespace memtrace {
namespace {

// Units whose ranges overlap come from code the linker discarded; few of them reach any real address.
constexpr std::size_t kMaxStepsBack = 64;
constexpr std::size_t kMaxCandidates = 4;

}  // namespace

std::vector<Dwarf_Die> DwarfUnits::by_aranges(std::uint64_t vaddr) {
  if (!std::exchange(aranges_read_, true)) {
    std::size_t count = 0;
    if (dwarf_getaranges(dwarf_, &aranges_, &count) != 0) aranges_ = nullptr;
  }
  Dwarf_Arange* range = aranges_ != nullptr ? dwarf_getarange_addr(aranges_, vaddr) : nullptr;
  Dwarf_Off offset = 0;
  Dwarf_Die unit;
  if (range == nullptr || dwarf_getarangeinfo(range, nullptr, nullptr, &offset) != 0) return {};
  if (dwarf_offdie(dwarf_, offset, &unit) == nullptr) return {};
  return {unit};
}

std::vector<Dwarf_Die> DwarfUnits::by_walking(std::uint64_t vaddr) {
  if (!std::exchange(walked_, true)) walk();
  std::vector<Dwarf_Die> units;
  const auto after =
      std::upper_bound(ranges_.begin(), ranges_.end(), vaddr,
                       [](std::uint64_t address, const Range& r) { return address < r.start; });
  auto index = static_cast<std::size_t>(after - ranges_.begin());
  for (std::size_t steps = 0; index > 0 && steps < kMaxStepsBack && units.size() < kMaxCandidates; ++steps) {
    --index;
    if (vaddr < ranges_[index].end) units.push_back(ranges_[index].unit);
  }
  return units;
}

void DwarfUnits::walk() {
  Dwarf_CU* unit = nullptr;
  Dwarf_Die die;
  while (dwarf_get_units(dwarf_, unit, &unit, nullptr, nullptr, &die, nullptr) == 0) {
    Dwarf_Addr base = 0;
    Dwarf_Addr start = 0;
    Dwarf_Addr end = 0;
    std::ptrdiff_t next = 0;
    while (work_.take(WorkLeft::kToKeep) && (next = dwarf_ranges(&die, next, &base, &start, &end)) > 0) {
      if (start < end) ranges_.push_back({start, end, die});
    }
  }
  std::stable_sort(ranges_.begin(), ranges_.end(),
                   [](const Range& a, const Range& b) { return a.start < b.start; });
}

}  // namespace memtrace
