#include "preload/module_notes.hpp"

#include "preload/counters.hpp"
#include "preload/modules.hpp"
#include "preload/sys/find_object.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {

void ModuleNotes::start(PageArena& arena) {
  arena_ = &arena;
  sys::start_find_object();
}

std::uint32_t ModuleNotes::size() const {
  const std::uint32_t count = count_.load(std::memory_order_acquire);
  return count < kMaxNotes ? count : kMaxNotes;
}

void ModuleNotes::note_one(const sys::LoadedObject& found, StackId stack) {
  const std::uint64_t start = found.begin;
  const std::uint32_t known = size();
  // The latest note of a place is the one that counts.
  for (std::uint32_t i = known; i-- > 0;) {
    const ModuleNote* note = (*this)[i];
    if (note && note->map_start == start) {
      if (note->link_map == found.map && note->map_end == found.end) return;
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
  note->map_end = found.end;
  note->link_map = found.map;
  note->first_stack = static_cast<std::uint32_t>(stack);
  if (const char* name = found.map->l_name) {
    for (std::size_t i = 0; i + 1 < sizeof note->path && name[i]; ++i) note->path[i] = name[i];
  }
  const ElfImage image{start, Presence::kLoaded, note->map_end};
  note->build_id = read_build_id(image);
  CodeSegment code;
  if (find_code(image, code)) {
    const std::uint64_t page_mask = kPageBytes - 1;
    const std::uint64_t begin = found.map->l_addr + code.address;
    note->code_start = begin & ~page_mask;
    note->code_end = (begin + code.size_bytes + page_mask) & ~page_mask;
    note->code_offset = code.file_offset & ~page_mask;
  }
  notes_[slot].store(note, std::memory_order_release);
}

void ModuleNotes::note(std::span<const ReturnAddress> frames, StackId stack) {
  if (!sys::can_find_objects()) return;
  // Frames of one object follow one another: asked for each, this was a twentieth of cc1plus under mode all.
  sys::LoadedObject found;  // stays where it is: a frame of it is on this stack
  for (const ReturnAddress frame : frames) {
    const std::uint64_t address = value(lookup_address(frame));
    if (address - found.begin < found.end - found.begin) continue;
    if (sys::find_object(address, found)) note_one(found, stack);
  }
}

}  // namespace memtrace
