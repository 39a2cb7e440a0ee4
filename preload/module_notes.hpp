// Which module a frame lay in when its stack was first seen: so that the stacks of a plugin that is
// closed before the next snapshot still name it, and an address used again by another module is not taken for
// the old one.
//
// Called by: the cold path for each new distinct stack (note), the snapshot thread (reading). Any thread;
// lock-free: _dl_find_object takes no loader lock, and a module with a frame on the calling stack cannot be
// unloaded meanwhile. Memory: page_arena; at most kMaxNotes. Full, or a libc without _dl_find_object (glibc
// before 2.35, musl): nothing is noted and only what is loaded at a snapshot is known.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string_view>

#include "format/types.hpp"
#include "preload/sys/find_object.hpp"
#include "preload/sys/page_arena.hpp"

namespace memtrace {

struct ModuleNote {
  std::uint64_t map_start = 0;  // the whole module
  std::uint64_t map_end = 0;
  const void* link_map = nullptr;
  std::uint64_t code_start = 0;  // its executable segment
  std::uint64_t code_end = 0;
  std::uint64_t code_offset = 0;  // in the file
  std::uint32_t first_stack = 0;  // the stack it was noted for; earlier ones know nothing of it
  BuildId build_id{};
  char path[512] = {};  // empty: the executable
};

class ModuleNotes {
 public:
  static constexpr std::uint32_t kMaxNotes = 4096;

  // At start, inside a hook guard.
  void start(PageArena& arena);
  // Only frames that are known to be on the calling stack.
  void note(std::span<const ReturnAddress> frames, StackId stack);

  [[nodiscard]] std::uint32_t size() const;
  [[nodiscard]] const ModuleNote* operator[](std::uint32_t i) const {
    return notes_[i].load(std::memory_order_acquire);  // nullptr: being written
  }

 private:
  void note_one(const sys::LoadedObject& found, StackId stack);

  PageArena* arena_ = nullptr;
  std::atomic<std::uint32_t> count_{0};
  std::atomic<ModuleNote*> notes_[kMaxNotes]{};
};

}  // namespace memtrace
