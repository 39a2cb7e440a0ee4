// The file under a snapshot: whole writes, and a final name that never replaces anything.
//
// Called by: snapshotter, on its thread. Raw system calls; errors are errno values.
#pragma once

#include <cstddef>
#include <cstdint>

namespace memtrace {

// The two functions of a ByteSink over a file descriptor; short writes and EINTR are carried on.
struct FileSink {
  int fd = -1;
  std::uint64_t written = 0;

  static int append(void* sink, const void* data, std::size_t size);
  static int overwrite(void* sink, std::uint64_t offset, const void* data, std::size_t size);
};

// Gives the finished file its name: renameat2(RENAME_NOREPLACE), else link and unlink. EEXIST: the name is
// taken.
[[nodiscard]] int publish_file(int directory, const char* temporary, const char* name);

}  // namespace memtrace
