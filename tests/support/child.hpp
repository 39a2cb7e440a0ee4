// Runs a part of a test in a forked child: globals it starts, limits it sets and crashes stay there.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <source_location>

// Tests ask for impossible sizes, and leave children by _exit, which would hide a report otherwise.
extern "C" [[gnu::used]] inline const char* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" [[gnu::used]] inline const char* __tsan_default_options() {
  return "allocator_may_return_null=1:halt_on_error=1";
}

namespace memtrace::test {

// Where failures are told, whatever a test does to fd 2.
inline const int g_told_at = fcntl(2, F_DUPFD_CLOEXEC, 100);

// In the child: says where, and fails it.
inline void expect(bool fine, std::source_location where = std::source_location::current()) {
  if (fine) return;
  dprintf(g_told_at, "%s:%u: expectation failed in a child\n", where.file_name(), where.line());
  _exit(1);
}

struct ChildEnd {
  int status = 0;
  [[nodiscard]] bool fine() const { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }
};

// Call it with one thread only: a child has no other.
template <class F>
[[nodiscard]] ChildEnd in_child(F body) {
  (void)std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    try {
      body();
    } catch (const std::exception& error) {
      dprintf(g_told_at, "in a child: %s\n", error.what());
      _exit(1);
    }
    _exit(0);
  }
  ChildEnd end;
  end.status = -1;
  if (child > 0) waitpid(child, &end.status, 0);
  return end;
}

}  // namespace memtrace::test
