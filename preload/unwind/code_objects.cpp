#include "preload/unwind/code_objects.hpp"

#include <elf.h>
#include <link.h>

#include "preload/sys/find_object.hpp"
#include "preload/sys/readable.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

// The file-backed part of the segment that holds the header; what lies past a segment's file part is zeros.
bool tables_in(const ElfW(Phdr) * segments, std::size_t count, std::uintptr_t bias, std::uintptr_t header,
               CfiTables& tables) {
  for (std::size_t i = 0; i < count; ++i) {
    const auto& segment = segments[i];
    if (segment.p_type != PT_LOAD || !(segment.p_flags & PF_R)) continue;
    const std::uintptr_t begin = bias + segment.p_vaddr;
    if (header < begin || header - begin >= segment.p_filesz) continue;
    tables = {begin, begin + segment.p_filesz, header};
    return true;
  }
  return false;
}

std::uint64_t hash_of(std::uintptr_t at, std::size_t bytes, std::uint64_t hash) {
  for (; bytes >= sizeof hash; at += sizeof hash, bytes -= sizeof hash) {
    std::uint64_t word;
    __builtin_memcpy(&word, reinterpret_cast<const void*>(at), sizeof word);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 32;
  }
  return hash;
}

// A loaded object's own headers, read where they are mapped and nowhere else. `identity`: of this build of it
// at this place; its notes, which hold its build-id, tell apart builds whose tables begin alike.
bool read_tables(const sys::LoadedObject& object, CfiTables& tables, std::uint64_t& identity) {
  if (object.unwind_header == 0 || !sys::readable(object.begin)) return false;
  const auto* elf = reinterpret_cast<const ElfW(Ehdr)*>(object.begin);
  if (__builtin_memcmp(elf->e_ident, ELFMAG, SELFMAG) != 0 || elf->e_phentsize != sizeof(ElfW(Phdr)) ||
      elf->e_phoff > kPageBytes || elf->e_phnum > (kPageBytes - elf->e_phoff) / sizeof(ElfW(Phdr))) {
    return false;
  }
  const auto* segments = reinterpret_cast<const ElfW(Phdr)*>(object.begin + elf->e_phoff);
  const std::uintptr_t bias = object.map->l_addr;
  if (!tables_in(segments, elf->e_phnum, bias, object.unwind_header, tables) || tables.begin < object.begin ||
      tables.end > object.end) {
    return false;
  }
  constexpr std::size_t kHeaderBytes =
      24;  // encodings, where .eh_frame is, how many functions, the first one
  identity = object.begin + object.end * 3 + reinterpret_cast<std::uintptr_t>(object.map);
  if (tables.end - tables.header >= kHeaderBytes) identity = hash_of(tables.header, kHeaderBytes, identity);
  for (std::size_t i = 0; i < elf->e_phnum; ++i) {
    const std::uintptr_t note =
        bias + segments[i].p_vaddr;  // those in the first page are known to be readable
    if (segments[i].p_type == PT_NOTE && note >= object.begin && note - object.begin <= kPageBytes &&
        segments[i].p_filesz <= kPageBytes - (note - object.begin)) {
      identity = hash_of(note, segments[i].p_filesz, identity);
    }
  }
  return true;
}

}  // namespace

int CodeObjects::add_permanent(dl_phdr_info* info, std::size_t, void* self) {
  auto& objects = *static_cast<CodeObjects*>(self);
  if (objects.permanent_count_ == kMaxPermanent) return 1;
  Object object;
  object.begin = UINTPTR_MAX;
  std::uintptr_t header = 0;
  for (unsigned i = 0; i < info->dlpi_phnum; ++i) {
    const auto& segment = info->dlpi_phdr[i];
    const std::uintptr_t begin = info->dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_GNU_EH_FRAME) header = begin;
    if (segment.p_type != PT_LOAD) continue;
    if (begin < object.begin) object.begin = begin;
    if (begin + segment.p_memsz > object.end) object.end = begin + segment.p_memsz;
  }
  if (object.end <= object.begin) return 0;
  if (header != 0) (void)tables_in(info->dlpi_phdr, info->dlpi_phnum, info->dlpi_addr, header, object.tables);
  std::size_t i = objects.permanent_count_++;
  for (; i > 0 && objects.permanent_[i - 1].begin > object.begin; --i) {
    objects.permanent_[i] = objects.permanent_[i - 1];
  }
  objects.permanent_[i] = object;
  return 0;
}

void CodeObjects::start() {
  sys::start_find_object();
  permanent_count_ = 0;
  dl_iterate_phdr(add_permanent, this);
}

const CodeObjects::Object* CodeObjects::permanent(std::uintptr_t address) const {
  std::size_t low = 0;
  std::size_t high = permanent_count_;
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (permanent_[middle].begin <= address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low > 0 && address < permanent_[low - 1].end ? &permanent_[low - 1] : nullptr;
}

// Remembers the object. Beyond kMaxSeen nothing is noticed, and rules are refreshed by snapshots alone.
bool CodeObjects::takes_anothers_place(std::uintptr_t begin, std::uintptr_t end, std::uint64_t identity) {
  bool replaced = false;
  Seen* free_slot = nullptr;
  for (Seen& seen : seen_) {
    const std::uintptr_t seen_begin = seen.begin.load(std::memory_order_acquire);
    if (seen_begin == 0) {
      if (!free_slot) free_slot = &seen;
      continue;
    }
    if (seen_begin == begin && seen.identity.load(std::memory_order_relaxed) == identity) return false;
    if (seen_begin < end && seen.end.load(std::memory_order_relaxed) > begin) {
      replaced = true;
      seen.begin.store(0, std::memory_order_relaxed);
      if (!free_slot) free_slot = &seen;
    }
  }
  // Two threads may take one slot: one object is remembered then, the other at its next address.
  if (free_slot) {
    free_slot->end.store(end, std::memory_order_relaxed);
    free_slot->identity.store(identity, std::memory_order_relaxed);
    free_slot->begin.store(begin, std::memory_order_release);
  }
  return replaced;
}

CodeObjects::Found CodeObjects::find(std::uintptr_t address, Trust trust,
                                     std::span<const ReturnAddress> certain, CfiTables& tables,
                                     bool& replaced) {
  if (const Object* object = permanent(address)) {
    tables = object->tables;
    return tables.header != 0 ? Found::kRules : Found::kNoRules;
  }
  sys::LoadedObject object;
  if (!sys::find_object(address, object)) return Found::kNothing;
  bool stays = trust == Trust::kFrame;
  for (std::size_t i = 0; i < certain.size() && !stays; ++i) {
    const std::uint64_t frame = value(lookup_address(certain[i]));
    stays = frame >= object.begin && frame < object.end;
  }
  std::uint64_t identity = 0;
  if (!stays || !read_tables(object, tables, identity)) return Found::kNoRules;
  replaced = takes_anothers_place(object.begin, object.end, identity);
  return Found::kRules;
}

}  // namespace memtrace
