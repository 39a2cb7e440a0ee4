// Whether pages can be read, without a signal handler or an fd.
//
// Called by: cold paths. One system call; any thread; signal-safe. False also where the kernel does not know
// (before 5.14).
#pragma once

#include <cstdint>

#include "preload/sys/page_arena.hpp"
#include "preload/sys/syscalls.hpp"

namespace memtrace::sys {

// Populating fails on pages that are not mapped, PROT_NONE, or past the end of their file.
inline bool readable(std::uintptr_t page, std::size_t bytes = kPageBytes) {
  constexpr int kPopulateRead = 22;
  return advise(reinterpret_cast<void*>(page), bytes, kPopulateRead) == 0;
}

}  // namespace memtrace::sys
