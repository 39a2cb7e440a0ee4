// Executable segments of loaded ELF objects, with build-ids: what turns addresses into (module, offset).
//
// Called by: the snapshot thread alone, before it writes. No loader lock is taken and no loader function
// called: the list comes from /proc/self/maps, build-ids from memory by process_vm_readv, which fails instead
// of faulting if the module goes away meanwhile. Memory: page_arena; capped. Segments that are gone stay in
// the list for the stacks that still name them. No /proc: the list stays as it was, addresses go out without
// a module.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "format/types.hpp"
#include "preload/module_notes.hpp"
#include "preload/sys/page_arena.hpp"

namespace memtrace {

struct LoadedModule {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t file_offset = 0;
  std::uint32_t path_at = 0;  // in the list's text
  std::uint32_t path_size = 0;
  BuildId build_id{};
  std::uint32_t first_stack = 0;  // stacks before this one know nothing of it
  bool loaded = false;            // at the last refresh
};

class Modules {
 public:
  void start(PageArena& arena) { arena_ = &arena; }

  // Reads the list anew and adds what was noted and is gone. True: something that was loaded at the last
  // refresh is not any more. `stacks`: how many there are; a segment that
  // takes the place of another counts for later ones. `scratch`: working space of at least kScratchBytes.
  static constexpr std::size_t kScratchBytes = 16 * 1024;
  bool refresh(std::string_view executable_path, const ModuleNotes& notes, std::uint32_t stacks,
               char* scratch);

  [[nodiscard]] std::uint32_t size() const { return count_; }
  [[nodiscard]] const LoadedModule& operator[](std::uint32_t i) const { return modules_[i]; }
  [[nodiscard]] std::string_view path(const LoadedModule& module) const {
    return {text_ + module.path_at, module.path_size};
  }

  // Index of the executable's first segment; 0 when the list does not have it.
  [[nodiscard]] std::uint32_t executable() const { return executable_; }
  // Whether any address belongs to more than one segment of the list.
  [[nodiscard]] bool places_reused() const { return places_reused_; }

  // Index of the segment that held the address when that stack was first seen; size() if none is known.
  [[nodiscard]] std::uint32_t find(std::uint64_t address, StackId stack) const;

 private:
  static constexpr std::uint32_t kMaxModules = 16 * 1024;
  static constexpr std::size_t kMaxTextBytes = std::size_t{4} << 20;

  struct MapsLine;
  void read_maps(const ModuleNotes& notes, std::uint32_t stacks, char* scratch);
  void add_loaded(const MapsLine& line, std::uint64_t header, const ModuleNotes& notes, std::uint32_t stacks);
  void add_gone(const ModuleNote& note, std::string_view executable_path);
  LoadedModule* append(const MapsLine& line);
  [[nodiscard]] std::uint32_t loaded_among(std::uint32_t first_modules) const;
  [[nodiscard]] bool reserve_module();
  [[nodiscard]] bool reserve_text(std::size_t bytes);
  template <class T, class Count>
  [[nodiscard]] bool grow(T*& list, Count& capacity, Count used, Count larger);

  PageArena* arena_ = nullptr;
  LoadedModule* modules_ = nullptr;
  std::uint32_t count_ = 0;
  std::uint32_t capacity_ = 0;
  std::uint32_t executable_ = 0;
  bool places_reused_ = false;
  char* text_ = nullptr;
  std::uint32_t text_used_ = 0;
  std::size_t text_capacity_ = 0;
};

enum class Presence : std::uint8_t {
  kLoaded,     // cannot go away meanwhile: read directly where it lies within [start, end) and can be read
  kUncertain,  // another thread may unload it: read by process_vm_readv, which fails instead of faulting
};
// A module in this process, by where its header is mapped. What it says of itself is not trusted.
struct ElfImage {
  std::uint64_t start = 0;
  Presence presence = Presence::kUncertain;
  std::uint64_t end = 0;  // of the whole module; known for kLoaded
};

// Size 0 when there is none.
[[nodiscard]] BuildId read_build_id(const ElfImage& image);

// Its first executable segment, as it was linked. False: none, or the header cannot be had.
struct CodeSegment {
  std::uint64_t address = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t file_offset = 0;
};
[[nodiscard]] bool find_code(const ElfImage& image, CodeSegment& code);

}  // namespace memtrace
