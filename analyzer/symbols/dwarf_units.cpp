#include "analyzer/symbols/dwarf_units.hpp"

#include <utility>

#include "analyzer/symbols/ranges.hpp"

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
  for_each_at(vaddr, ranges_, kMaxStepsBack, [&](const Range& range) {
    units.push_back(range.unit);
    return units.size() == kMaxCandidates;
  });
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
  sort_by_start(ranges_);
}

}  // namespace memtrace
