#include "analyzer/symbols/dwarf_functions.hpp"

#include <dwarf.h>

#include <algorithm>
#include <cstddef>
#include <optional>

#include "analyzer/symbols/demangle.hpp"
#include "analyzer/symbols/dwarf_names.hpp"
#include "analyzer/symbols/ranges.hpp"

namespace memtrace {
namespace {

constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxInlineDepth = 128;  // blocks count
constexpr std::size_t kNoParent = SIZE_MAX;
constexpr std::size_t kMaxScopeBytes = 4096;
constexpr std::size_t kMaxStepsBack = 64;
constexpr int kMaxRangesOfFunction = 1 << 16;

bool is_namespace(int tag) {
  return tag == DW_TAG_compile_unit || tag == DW_TAG_partial_unit || tag == DW_TAG_type_unit ||
         tag == DW_TAG_namespace || tag == DW_TAG_module;
}

bool may_hold_functions(int tag) {
  switch (tag) {
    case DW_TAG_class_type:
    case DW_TAG_structure_type:
    case DW_TAG_union_type:
    case DW_TAG_subprogram:
    case DW_TAG_lexical_block:
    case DW_TAG_inlined_subroutine:
      return true;
    default:
      return is_namespace(tag);
  }
}

bool is_block(int tag) {
  return tag == DW_TAG_lexical_block || tag == DW_TAG_try_block || tag == DW_TAG_catch_block ||
         tag == DW_TAG_with_stmt;
}

bool names_scope(int tag) { return !is_block(tag) && tag != DW_TAG_inlined_subroutine; }

struct ScopeName {
  std::string text;
  bool complete;  // scopes further out are already in it
};

ScopeName scope_name(Dwarf_Die die) {
  switch (dwarf_tag(&die)) {
    case DW_TAG_subprogram: {
      FunctionName name = function_name(die);
      if (!name.linkage.empty()) return {demangle(name.linkage), true};
      return {name.plain.empty() ? "{function}" : std::move(name.plain), false};
    }
    case DW_TAG_namespace: {
      std::string name = own_name(&die);
      return {name.empty() ? "(anonymous namespace)" : std::move(name), false};
    }
    default: {
      // g++ gives lambdas neither a name nor a linkage name.
      std::string name = own_name(&die);
      return {name.empty() ? "{unnamed}" : std::move(name), false};
    }
  }
}

bool has_code(Dwarf_Die* die) {
  return dwarf_hasattr(die, DW_AT_low_pc) != 0 || dwarf_hasattr(die, DW_AT_ranges) != 0;
}

// The next entry on the same level, or nothing. Malformed input may point backwards: that would loop.
std::optional<Dwarf_Die> sibling_of(Dwarf_Die* die) {
  Dwarf_Die next;
  if (dwarf_siblingof(die, &next) != 0 || dwarf_dieoffset(&next) <= dwarf_dieoffset(die)) return std::nullopt;
  return next;
}

std::optional<Dwarf_Die> child_of(Dwarf_Die* die) {
  Dwarf_Die child;
  if (dwarf_child(die, &child) != 0) return std::nullopt;
  return child;
}

}  // namespace

DwarfFunctions::DwarfFunctions(Dwarf_Die unit, WorkLeft& work) : unit_(unit), work_(work) {
  walk(Depth::kNamespaces);
}

void DwarfFunctions::walk(Depth depth) {
  walked_ = depth;
  ranges_.clear();
  scopes_.assign(1, Scope{});
  scoped_.clear();
  struct Level {
    Dwarf_Die die;
    std::size_t scope;
    std::size_t depth;
  };
  std::vector<Level> levels;
  if (auto child = child_of(&unit_)) levels.push_back({*child, 0, 0});
  while (!levels.empty() && work_.take()) {
    Level level = levels.back();
    levels.pop_back();
    if (auto next = sibling_of(&level.die)) levels.push_back({*next, level.scope, level.depth});
    const int tag = dwarf_tag(&level.die);
    visit(&level.die, tag, level.scope);
    const bool enters = depth == Depth::kAll ? may_hold_functions(tag) : is_namespace(tag);
    if (!enters || level.depth >= kMaxDepth) continue;
    auto child = child_of(&level.die);
    if (!child) continue;
    if (names_scope(tag) && work_.take(WorkLeft::kToKeep)) {
      scopes_.push_back({level.die, level.scope});
      level.scope = scopes_.size() - 1;
    }
    levels.push_back({*child, level.scope, level.depth + 1});
  }
  sort_by_start(ranges_);
  std::sort(scoped_.begin(), scoped_.end());
}

void DwarfFunctions::visit(Dwarf_Die* die, int tag, std::size_t scope) {
  if (tag != DW_TAG_subprogram || !work_.take(WorkLeft::kToKeep)) return;
  scoped_.emplace_back(dwarf_dieoffset(die), scope);
  if (!has_code(die)) return;
  Dwarf_Addr base = 0;
  Dwarf_Addr start = 0;
  Dwarf_Addr end = 0;
  std::ptrdiff_t next = 0;
  for (int i = 0; i < kMaxRangesOfFunction && (next = dwarf_ranges(die, next, &base, &start, &end)) > 0;
       ++i) {
    if (!work_.take(WorkLeft::kToKeep)) return;
    if (start < end) ranges_.push_back({start, end, *die});
  }
}

const std::pair<Dwarf_Off, std::size_t>* DwarfFunctions::find_scoped(Dwarf_Off function) const {
  const auto found =
      std::lower_bound(scoped_.begin(), scoped_.end(), std::make_pair(function, std::size_t{0}));
  return found != scoped_.end() && found->first == function ? &*found : nullptr;
}

std::string DwarfFunctions::scope_of(Dwarf_Off function) {
  const auto* found = find_scoped(function);
  if (found == nullptr && walked_ != Depth::kAll) {
    walk(Depth::kAll);
    found = find_scoped(function);
  }
  std::string text;
  if (found == nullptr) return text;
  // A parent comes before its children, so this ends.
  for (std::size_t i = found->second; i != 0 && text.size() < kMaxScopeBytes; i = scopes_[i].parent) {
    const ScopeName name = scope_name(scopes_[i].die);
    text = text.empty() ? name.text : name.text + "::" + text;
    if (name.complete) break;
  }
  return text;
}

const DwarfFunctions::Range* DwarfFunctions::innermost_at(std::uint64_t vaddr) const {
  const Range* innermost = nullptr;
  for_each_at(vaddr, ranges_, kMaxStepsBack, [&](const Range& range) {
    innermost = &range;
    return true;
  });
  return innermost;
}

std::vector<DwarfFunctions::Inlined> DwarfFunctions::list_inlined(Dwarf_Die function) {
  struct Level {
    Dwarf_Die die;
    std::size_t parent;
    std::size_t depth;
  };
  std::vector<Inlined> inlined;
  std::vector<Level> levels;
  if (auto child = child_of(&function)) levels.push_back({*child, kNoParent, 0});
  while (!levels.empty() && work_.take()) {
    Level level = levels.back();
    levels.pop_back();
    if (auto next = sibling_of(&level.die)) levels.push_back({*next, level.parent, level.depth});
    const int tag = dwarf_tag(&level.die);
    if (tag == DW_TAG_inlined_subroutine) {
      if (!work_.take(WorkLeft::kToKeep)) break;
      inlined.push_back({level.die, level.parent});
      level.parent = inlined.size() - 1;
    } else if (!is_block(tag)) {
      continue;
    }
    if (level.depth >= kMaxInlineDepth) continue;
    if (auto child = child_of(&level.die)) levels.push_back({*child, level.parent, level.depth + 1});
  }
  return inlined;
}

bool DwarfFunctions::covers(Dwarf_Die* die, std::uint64_t vaddr) {
  Dwarf_Addr base = 0;
  Dwarf_Addr start = 0;
  Dwarf_Addr end = 0;
  std::ptrdiff_t next = 0;
  while (work_.take() && (next = dwarf_ranges(die, next, &base, &start, &end)) > 0) {
    if (start <= vaddr && vaddr < end) return true;
  }
  return false;
}

std::vector<Dwarf_Die> DwarfFunctions::chain_at(std::uint64_t vaddr) {
  std::vector<Dwarf_Die> chain;
  const Range* range = innermost_at(vaddr);
  if (range == nullptr && walked_ != Depth::kAll) {
    walk(Depth::kAll);
    range = innermost_at(vaddr);
  }
  if (range == nullptr) return chain;
  chain.push_back(range->function);
  auto [known, is_new] = inlined_.try_emplace(range->function.addr);
  if (is_new) known->second = list_inlined(range->function);
  std::size_t outer = kNoParent;
  for (std::size_t i = 0; i < known->second.size(); ++i) {
    Inlined& inlined = known->second[i];
    if (inlined.parent != outer || !covers(&inlined.die, vaddr)) continue;
    chain.push_back(inlined.die);
    outer = i;
  }
  return chain;
}

}  // namespace memtrace
