// Which loaded ELF object holds an address, without the loader's lock: _dl_find_object of glibc 2.35 and
// newer.
//
// Called by: cold paths, signal handlers. Any thread; no lock, no memory. start_find_object() once before,
// where dlsym may be called. False: no object holds it, or this libc cannot tell (can_find_objects()).
#pragma once

#include <link.h>

#include <cstdint>

namespace memtrace::sys {

struct LoadedObject {
  std::uintptr_t begin = 0;  // of all its segments
  std::uintptr_t end = 0;
  const link_map* map = nullptr;
  std::uintptr_t unwind_header = 0;  // PT_GNU_EH_FRAME; 0: none
};

void start_find_object();
[[nodiscard]] bool can_find_objects();
[[nodiscard]] bool find_object(std::uintptr_t address, LoadedObject& object);

}  // namespace memtrace::sys
