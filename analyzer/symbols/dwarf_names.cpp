#include "analyzer/symbols/dwarf_names.hpp"

#include <dwarf.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "analyzer/symbols/demangle.hpp"

namespace memtrace {
namespace {

constexpr int kMaxHops = 16;
constexpr std::size_t kMaxNameBytes = 64 << 10;  // a name is copied for each address in its function

// Inline text is not checked by libdw: a damaged file may lack the final zero.
std::string inline_text(Dwarf_Die* die, const char* text) {
  Elf* elf = dwarf_getelf(dwarf_cu_getdwarf(die->cu));
  const auto address = reinterpret_cast<std::uintptr_t>(text);
  for (Elf_Scn* scn = elf_nextscn(elf, nullptr); scn != nullptr; scn = elf_nextscn(elf, scn)) {
    const Elf_Data* data = elf_getdata(scn, nullptr);
    if (data == nullptr || data->d_buf == nullptr) continue;
    const auto start = reinterpret_cast<std::uintptr_t>(data->d_buf);
    if (address < start || address - start >= data->d_size) continue;
    const std::size_t room = data->d_size - (address - start);
    const std::size_t length = strnlen(text, std::min(room, kMaxNameBytes));
    return length < room ? std::string(text, length) : std::string();
  }
  return {};
}

std::string own_text(Dwarf_Die* die, unsigned int attribute_name) {
  Dwarf_Attribute attribute;
  if (dwarf_attr(die, attribute_name, &attribute) == nullptr) return {};
  const char* text = dwarf_formstring(&attribute);
  if (text == nullptr) return {};
  return dwarf_whatform(&attribute) == DW_FORM_string ? inline_text(die, text)
                                                      : std::string(text, strnlen(text, kMaxNameBytes));
}

bool follow(Dwarf_Die& die) {
  for (const unsigned int name : {DW_AT_abstract_origin, DW_AT_specification}) {
    Dwarf_Attribute attribute;
    Dwarf_Die target;
    if (dwarf_attr(&die, name, &attribute) != nullptr && dwarf_formref_die(&attribute, &target) != nullptr) {
      die = target;
      return true;
    }
  }
  return false;
}

}  // namespace

std::string own_name(Dwarf_Die* die) { return own_text(die, DW_AT_name); }

FunctionName function_name(Dwarf_Die die) {
  FunctionName name;
  for (int hops = 0; hops < kMaxHops; ++hops) {
    for (const unsigned int attribute : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name}) {
      if (name.linkage.empty()) name.linkage = own_text(&die, attribute);
      if (!is_mangled(name.linkage)) name.linkage.clear();
    }
    if (name.plain.empty()) {
      name.plain = own_name(&die);
      if (!name.plain.empty()) name.declaration = die;
    }
    if (!name.linkage.empty() || !follow(die)) break;
  }
  return name;
}

}  // namespace memtrace
