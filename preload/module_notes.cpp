#include "preload/module_notes.hpp"

#include <dlfcn.h>
#include <link.h>

#include "preload/counters.hpp"
#include "preload/modules.hpp"
#include "preload/sys/old_symbols.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

#ifdef DLFO_STRUCT_HAS_EH_DBASE
using FindObject = int (*)(void* address, dl_find_object* found);
constinit FindObject g_find_object = nullptr;
#endif

}  // namespace

void ModuleNotes::start(PageArena& arena) {
  arena_ = &arena;
#ifdef DLFO_STRUCT_HAS_EH_DBASE
  void* symbol = dlsym(RTLD_DEFAULT, "_dl_find_object");
  __builtin_memcpy(&g_find_object, &symbol, sizeof symbol);
#endif
}

std::uint32_t ModuleNotes::size() const {
  const std::uint32_t count = count_.load(std::memory_order_acquire);
  return count < kMaxNotes ? count : kMaxNotes;
}

void ModuleNotes::note_one(std::uint64_t address, StackId stack) {
#ifdef DLFO_STRUCT_HAS_EH_DBASE
  dl_find_object found;
  if (g_find_object(reinterpret_cast<void*>(address), &found) != 0) return;
  const auto start = reinterpret_cast<std::uint64_t>(found.dlfo_map_start);
  const std::uint32_t known = size();
  // The latest note of a place is the one that counts.
  for (std::uint32_t i = known; i-- > 0;) {
    const ModuleNote* note = (*this)[i];
    if (note && note->map_start == start) {
      if (note->link_map == found.dlfo_link_map &&
          note->map_end == reinterpret_cast<std::uint64_t>(found.dlfo_map_end)) {
        return;
      }
      break;
    }
  }
  const std::uint32_t slot = count_.fetch_add(1, std::memory_order_relaxed);
  if (slot >= kMaxNotes) {
    count_.store(kMaxNotes, std::memory_order_relaxed);
    count(g_counters.lost_modules);
    return;
  }
  auto* note = static_cast<ModuleNote*>(arena_->take(sizeof(ModuleNote)));
  if (!note) return;
  note->map_start = start;
  note->map_end = reinterpret_cast<std::uint64_t>(found.dlfo_map_end);
  note->link_map = found.dlfo_link_map;
  note->first_stack = static_cast<std::uint32_t>(stack);
  if (const char* name = found.dlfo_link_map->l_name) {
    for (std::size_t i = 0; i + 1 < sizeof note->path && name[i]; ++i) note->path[i] = name[i];
  }
  const ElfImage image{start, Presence::kLoaded, note->map_end};
  note->build_id = read_build_id(image);
  CodeSegment code;
  if (find_code(image, code)) {
    const std::uint64_t page_mask = kPageBytes - 1;
    const std::uint64_t begin = found.dlfo_link_map->l_addr + code.address;
    note->code_start = begin & ~page_mask;
    note->code_end = (begin + code.size_bytes + page_mask) & ~page_mask;
    note->code_offset = code.file_offset & ~page_mask;
  }
  notes_[slot].store(note, std::memory_order_release);
#else
  (void)address;
  (void)stack;
#endif
}

void ModuleNotes::note(std::span<const ReturnAddress> frames, StackId stack) {
#ifdef DLFO_STRUCT_HAS_EH_DBASE
  if (!g_find_object) return;
  for (const ReturnAddress frame : frames) note_one(value(lookup_address(frame)), stack);
#else
  (void)frames;
  (void)stack;
#endif
}

}  // namespace memtrace
