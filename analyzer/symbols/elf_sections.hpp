// The sections of an ELF file that have content in it, in the order of their headers.
//
// Thread-safety: one thread at a time for each handle. Input is untrusted.
#pragma once

#include <gelf.h>

#include <string_view>

namespace memtrace {

// visit(section, header, name) returns true to stop.
template <class Visit>
void for_each_section(Elf* elf, Visit visit) {
  std::size_t names = 0;
  if (elf_getshdrstrndx(elf, &names) != 0) return;
  for (Elf_Scn* scn = elf_nextscn(elf, nullptr); scn != nullptr; scn = elf_nextscn(elf, scn)) {
    GElf_Shdr header;
    if (gelf_getshdr(scn, &header) == nullptr || header.sh_type == SHT_NOBITS) continue;
    const char* name = elf_strptr(elf, names, header.sh_name);
    if (visit(scn, header, std::string_view(name != nullptr ? name : ""))) return;
  }
}

}  // namespace memtrace
