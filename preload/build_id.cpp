// Reads build-id notes out of this process's memory without trusting any of it.
#include <elf.h>

#include "preload/modules.hpp"
#include "preload/sys/syscalls.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

using Copy = bool (*)(std::uint64_t address, void* out, std::size_t size);

bool copy_present(std::uint64_t address, void* out, std::size_t size) {
  __builtin_memcpy(out, reinterpret_cast<const void*>(address), size);
  return true;
}

bool copy_if_mapped(std::uint64_t address, void* out, std::size_t size) {
  const iovec local{out, size};
  const iovec remote{reinterpret_cast<void*>(address), size};
  return sys::call(SYS_process_vm_readv, sys::pid(), &local, 1, &remote, 1, 0) == static_cast<long>(size);
}

bool find_note(Copy copy_from, std::uint64_t at, std::uint64_t size, BuildId& id) {
  for (int notes = 0; notes < 16 && size >= sizeof(Elf64_Nhdr); ++notes) {
    Elf64_Nhdr note;
    if (!copy_from(at, &note, sizeof note)) return false;
    const std::uint64_t name = (std::uint64_t{note.n_namesz} + 3) & ~std::uint64_t{3};
    const std::uint64_t whole = sizeof note + name + ((std::uint64_t{note.n_descsz} + 3) & ~std::uint64_t{3});
    if (whole > size) return false;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && note.n_descsz <= id.bytes.size()) {
      char owner[4];
      if (!copy_from(at + sizeof note, owner, sizeof owner)) return false;
      if (__builtin_memcmp(owner, "GNU", 4) == 0) {
        if (!copy_from(at + sizeof note + name, id.bytes.data(), note.n_descsz)) return false;
        id.size = static_cast<std::uint8_t>(note.n_descsz);
        return true;
      }
    }
    at += whole;
    size -= whole;
  }
  return false;
}

}  // namespace

BuildId read_build_id(std::uint64_t header, Presence presence) {
  const Copy copy_from = presence == Presence::kLoaded ? copy_present : copy_if_mapped;
  BuildId id;
  Elf64_Ehdr elf;
  if (!copy_from(header, &elf, sizeof elf) || __builtin_memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 ||
      elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_phentsize != sizeof(Elf64_Phdr) || elf.e_phnum > 64) {
    return id;
  }
  // Where the first segment was linked, against where it is.
  std::uint64_t bias = header;
  for (int pass = 0; pass < 2; ++pass) {
    for (unsigned i = 0; i < elf.e_phnum; ++i) {
      Elf64_Phdr segment;
      if (!copy_from(header + elf.e_phoff + i * sizeof segment, &segment, sizeof segment)) return BuildId{};
      if (pass == 0) {
        if (segment.p_type != PT_LOAD) continue;
        bias = header - (segment.p_vaddr & ~std::uint64_t{kPageBytes - 1});
        break;
      }
      if (segment.p_type == PT_NOTE && find_note(copy_from, bias + segment.p_vaddr, segment.p_memsz, id))
        return id;
    }
  }
  return BuildId{};
}

}  // namespace memtrace
