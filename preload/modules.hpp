// Executable segments of loaded ELF objects, with build-ids: what turns addresses into (module, offset).
//
// Called by: the snapshot thread alone, before it writes. No loader lock is taken and no loader function
// called: the list comes from /proc/self/maps, build-ids from memory by process_vm_readv, which fails instead
// of faulting if the object goes away meanwhile. Memory: page_arena; capped. Segments that are gone stay in
// the list for the stacks that still name them. No /proc: the list stays as it was, addresses go out without
// a module.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "format/types.hpp"
#include "preload/sys/page_arena.hpp"

namespace memtrace {

struct LoadedModule {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t file_offset = 0;
  std::uint32_t path_at = 0;  // in the list's text
  std::uint32_t path_size = 0;
  BuildId build_id{};
  bool loaded = false;  // at the last refresh
  bool executable_of_process = false;
};

class Modules {
 public:
  void start(PageArena& arena) { arena_ = &arena; }

  // Reads the list anew. `scratch` is working space of at least kScratchBytes.
  static constexpr std::size_t kScratchBytes = 16 * 1024;
  void refresh(std::string_view executable_path, char* scratch);

  [[nodiscard]] std::uint32_t size() const { return count_; }
  [[nodiscard]] const LoadedModule& operator[](std::uint32_t i) const { return modules_[i]; }
  [[nodiscard]] std::string_view path(const LoadedModule& module) const {
    return {text_ + module.path_at, module.path_size};
  }

  // Index of the segment that holds the address: a loaded one if there is one, else the last that was; size()
  // if none.
  [[nodiscard]] std::uint32_t find(std::uint64_t address) const;

 private:
  static constexpr std::uint32_t kMaxModules = 16 * 1024;
  static constexpr std::size_t kMaxTextBytes = std::size_t{4} << 20;

  struct MapsLine;
  void add(const MapsLine& line, std::uint64_t header, std::string_view executable_path);
  [[nodiscard]] bool reserve_module();
  [[nodiscard]] bool reserve_text(std::size_t bytes);

  PageArena* arena_ = nullptr;
  LoadedModule* modules_ = nullptr;
  std::uint32_t count_ = 0;
  std::uint32_t capacity_ = 0;
  char* text_ = nullptr;
  std::uint32_t text_used_ = 0;
  std::size_t text_capacity_ = 0;
};

// The GNU build-id of the ELF object whose header is mapped at `header` in this process; size 0 when there is
// none.
[[nodiscard]] BuildId read_build_id(std::uint64_t header);

}  // namespace memtrace
