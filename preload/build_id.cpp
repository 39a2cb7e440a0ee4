// Reads ELF headers and build-id notes out of this process's memory without trusting any of it.
#include <elf.h>

#include "preload/modules.hpp"
#include "preload/sys/readable.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

bool copy_if_mapped(std::uint64_t address, void* out, std::size_t size) {
  const iovec local{out, size};
  const iovec remote{reinterpret_cast<void*>(address), size};
  return sys::call(SYS_process_vm_readv, sys::pid(), &local, 1, &remote, 1, 0) == static_cast<long>(size);
}

// A loaded object may say what it likes: that its headers lie past its end, or in a gap between its segments.
class Memory {
 public:
  explicit Memory(const ElfImage& image) : image_(image) {}

  bool copy(std::uint64_t address, void* out, std::size_t size) {
    if (image_.presence == Presence::kUncertain) return copy_if_mapped(address, out, size);
    if (address < image_.start || address > image_.end || image_.end - address < size) return false;
    for (const std::uint64_t end : {address, address + size - 1}) {
      const std::uint64_t page = end & ~std::uint64_t{kPageBytes - 1};
      if (page == known_page_) continue;
      if (!sys::readable(page)) return false;
      known_page_ = page;
    }
    __builtin_memcpy(out, reinterpret_cast<const void*>(address), size);
    return true;
  }

  bool copy_header(Elf64_Ehdr& elf) {
    return copy(image_.start, &elf, sizeof elf) && __builtin_memcmp(elf.e_ident, ELFMAG, SELFMAG) == 0 &&
           elf.e_ident[EI_CLASS] == ELFCLASS64 && elf.e_phentsize == sizeof(Elf64_Phdr) && elf.e_phnum <= 64;
  }

  bool copy_segment(const Elf64_Ehdr& elf, unsigned i, Elf64_Phdr& segment) {
    return copy(image_.start + elf.e_phoff + i * sizeof segment, &segment, sizeof segment);
  }

 private:
  const ElfImage image_;
  std::uint64_t known_page_ = 0;
};

bool find_note(Memory& memory, std::uint64_t at, std::uint64_t size, BuildId& id) {
  for (int notes = 0; notes < 16 && size >= sizeof(Elf64_Nhdr); ++notes) {
    Elf64_Nhdr note;
    if (!memory.copy(at, &note, sizeof note)) return false;
    const std::uint64_t name = (std::uint64_t{note.n_namesz} + 3) & ~std::uint64_t{3};
    const std::uint64_t whole = sizeof note + name + ((std::uint64_t{note.n_descsz} + 3) & ~std::uint64_t{3});
    if (whole > size) return false;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && note.n_descsz <= id.bytes.size()) {
      char owner[4];
      if (!memory.copy(at + sizeof note, owner, sizeof owner)) return false;
      if (__builtin_memcmp(owner, "GNU", 4) == 0) {
        if (!memory.copy(at + sizeof note + name, id.bytes.data(), note.n_descsz)) return false;
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

BuildId read_build_id(const ElfImage& image) {
  Memory memory(image);
  BuildId id;
  Elf64_Ehdr elf;
  if (!memory.copy_header(elf)) return id;
  // Where the first segment was linked, against where it is.
  std::uint64_t bias = image.start;
  for (int pass = 0; pass < 2; ++pass) {
    for (unsigned i = 0; i < elf.e_phnum; ++i) {
      Elf64_Phdr segment;
      if (!memory.copy_segment(elf, i, segment)) return BuildId{};
      if (pass == 0) {
        if (segment.p_type != PT_LOAD) continue;
        bias = image.start - (segment.p_vaddr & ~std::uint64_t{kPageBytes - 1});
        break;
      }
      if (segment.p_type == PT_NOTE && find_note(memory, bias + segment.p_vaddr, segment.p_memsz, id)) {
        return id;
      }
    }
  }
  return BuildId{};
}

bool find_code(const ElfImage& image, CodeSegment& code) {
  Memory memory(image);
  Elf64_Ehdr elf;
  if (!memory.copy_header(elf)) return false;
  for (unsigned i = 0; i < elf.e_phnum; ++i) {
    Elf64_Phdr segment;
    if (!memory.copy_segment(elf, i, segment)) return false;
    if (segment.p_type != PT_LOAD || !(segment.p_flags & PF_X)) continue;
    code = {segment.p_vaddr, segment.p_memsz, segment.p_offset};
    return true;
  }
  return false;
}

}  // namespace memtrace
