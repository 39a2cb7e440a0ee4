#include "analyzer/symbols/symbol_table.hpp"

#include <gelf.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <tuple>
#include <utility>

#include "analyzer/symbols/ranges.hpp"

namespace memtrace {
namespace {

// Hand-written assembly often lacks sizes; beyond a page the guess is more likely wrong than right.
constexpr std::uint64_t kMaxGuessedSize = 4096;
// How many symbols before the address are examined for one that still covers it.
constexpr std::size_t kMaxStepsBack = 256;
constexpr std::size_t kMaxAliases = 64;
constexpr std::size_t kMaxNameBytes = 16 << 10;  // no demangler takes more

int binding_rank(std::uint8_t binding) {
  if (binding == STB_GLOBAL) return 0;
  return binding == STB_WEAK ? 1 : 2;
}

}  // namespace

SymbolTable::SymbolTable(const ElfFile& file, SymbolSection section) : elf_(file.elf()) {
  const GElf_Word wanted = section == SymbolSection::kSymtab ? SHT_SYMTAB : SHT_DYNSYM;
  for (Elf_Scn* scn = elf_nextscn(elf_, nullptr); scn != nullptr; scn = elf_nextscn(elf_, scn)) {
    GElf_Shdr header;
    if (gelf_getshdr(scn, &header) == nullptr || header.sh_type != wanted || header.sh_entsize == 0) continue;
    Elf_Data* data = elf_getdata(scn, nullptr);
    if (data == nullptr) continue;
    strings_ = header.sh_link;
    const std::size_t count =
        std::min<std::size_t>(data->d_size / header.sh_entsize, std::numeric_limits<int>::max());
    for (std::size_t i = 0; i < count; ++i) {
      GElf_Sym symbol;
      if (gelf_getsym(data, static_cast<int>(i), &symbol) == nullptr) break;
      const auto type = GELF_ST_TYPE(symbol.st_info);
      if ((type != STT_FUNC && type != STT_GNU_IFUNC) || symbol.st_shndx == SHN_UNDEF) continue;
      entries_.push_back({symbol.st_value, symbol.st_value + symbol.st_size, symbol.st_name,
                          static_cast<std::uint8_t>(GELF_ST_BIND(symbol.st_info)), symbol.st_size != 0});
    }
    break;
  }
  sort_by_start(entries_);
  std::uint64_t next_start = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t this_start = next_start;
  for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) {
    if (entry->start != this_start) next_start = std::exchange(this_start, entry->start);
    if (!entry->sized) entry->end = entry->start + std::min(next_start - entry->start, kMaxGuessedSize);
  }
}

std::optional<SymbolTable::Match> SymbolTable::find(std::uint64_t vaddr) const {
  std::optional<Match> match;
  for_each_at(vaddr, entries_, kMaxStepsBack, [&](const Entry& entry) {
    match = best_alias(static_cast<std::size_t>(&entry - entries_.data()), vaddr);
    return true;
  });
  return match;
}

SymbolTable::Match SymbolTable::best_alias(std::size_t index, std::uint64_t vaddr) const {
  const std::uint64_t start = entries_[index].start;
  std::optional<std::tuple<bool, int, std::size_t, std::size_t, std::string>> best;
  for (std::size_t i = index + 1, steps = 0; i > 0 && steps < kMaxAliases; --i, ++steps) {
    const Entry& entry = entries_[i - 1];
    if (entry.start != start) break;
    if (vaddr >= entry.end) continue;
    const char* text = elf_strptr(elf_, strings_, entry.name);
    if (text == nullptr) continue;
    std::string name(text, strnlen(text, kMaxNameBytes));
    name.resize(std::min(name.find('@'), name.size()));
    // `malloc` rather than `__libc_malloc`.
    const std::size_t underscores = std::min(name.find_first_not_of('_'), name.size());
    auto candidate =
        std::make_tuple(!entry.sized, binding_rank(entry.binding), underscores, name.size(), name);
    if (!best || candidate < *best) best = std::move(candidate);
  }
  return {best ? std::get<std::string>(*best) : std::string(), start};
}

}  // namespace memtrace
