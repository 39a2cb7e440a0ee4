#include "preload/snapshot_file.hpp"

#include <errno.h>
#include <linux/fs.h>

#include "preload/sys/syscalls.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {

int FileSink::append(void* sink, const void* data, std::size_t size) {
  auto& file = *static_cast<FileSink*>(sink);
  const auto* bytes = static_cast<const char*>(data);
  while (size > 0) {
    const long done = sys::write(file.fd, bytes, size);
    if (done == -EINTR) continue;
    if (done <= 0) return done == 0 ? EIO : static_cast<int>(-done);
    bytes += done;
    size -= static_cast<std::size_t>(done);
    file.written += static_cast<std::uint64_t>(done);
  }
  return 0;
}

int FileSink::overwrite(void* sink, std::uint64_t offset, const void* data, std::size_t size) {
  const auto& file = *static_cast<FileSink*>(sink);
  const auto* bytes = static_cast<const char*>(data);
  while (size > 0) {
    const long done = sys::call(SYS_pwrite64, file.fd, bytes, size, offset);
    if (done == -EINTR) continue;
    if (done <= 0) return done == 0 ? EIO : static_cast<int>(-done);
    bytes += done;
    offset += static_cast<std::uint64_t>(done);
    size -= static_cast<std::size_t>(done);
  }
  return 0;
}

int publish_file(int directory, const char* temporary, const char* name) {
  const long renamed = sys::call(SYS_renameat2, directory, temporary, directory, name, RENAME_NOREPLACE);
  if (renamed == 0 || renamed == -EEXIST) return static_cast<int>(-renamed);
  // Kernels and file systems without the flag: a link never replaces either.
  const long linked = sys::call(SYS_linkat, directory, temporary, directory, name, 0);
  if (linked != 0) return static_cast<int>(-linked);
  sys::call(SYS_unlinkat, directory, temporary, 0);
  return 0;
}

}  // namespace memtrace
