// The kernel's id of the calling thread, without a system call where glibc keeps it.
//
// Called by: the cold path, once per thread and fork generation. gettid is not among the calls a sandboxed
// host expects from malloc, and glibc has had the id at the same place of its thread block on x86-64
// since 2.4; start() verifies that on the first thread before anyone relies on it.
#pragma once

#include <cstdint>

#include "preload/sys/syscalls.hpp"

extern "C" [[gnu::weak]] const char* gnu_get_libc_version();

namespace memtrace::sys {

class ThreadId {
 public:
  void start() { in_thread_block_ = gnu_get_libc_version != nullptr && from_thread_block() == tid(); }
  [[nodiscard]] std::uint32_t current() const { return in_thread_block_ ? from_thread_block() : tid(); }

 private:
  static std::uint32_t from_thread_block() {
    std::uint32_t id;
    asm volatile("movl %%fs:0x2d0, %0" : "=r"(id));
    return id;
  }
  bool in_thread_block_ = false;
};

}  // namespace memtrace::sys
