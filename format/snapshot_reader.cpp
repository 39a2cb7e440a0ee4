#include "format/snapshot_reader.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "format/container_reader.hpp"
#include "format/decode_error.hpp"
#include "format/file_descriptor.hpp"
#include "format/huge_pages.hpp"
#include "format/message_decoder.hpp"

namespace memtrace {
namespace {

// Enough for the head, and to tell what a foreign file is.
constexpr std::size_t kFirstRead = 64 * 1024;
// A file larger than its message is possible (incompressible, many frames), one much larger is not ours.
constexpr std::uint64_t kSlack = 1 << 20;

[[noreturn]] void fail_system(const char* what, int error) {
  throw DecodeError{{0, std::string(what) + ": " + std::strerror(error)}};
}

// What has been read of a file. Not zeroed before: a million records are megabytes.
class FileBytes {
 public:
  // Makes room for `room` bytes and reads until it is full or the file ends: pipes give less than asked for.
  // True: it is full.
  bool read_up_to(int fd, std::size_t room) {
    auto larger = std::make_unique_for_overwrite<std::byte[]>(room);
    prefer_huge_pages(larger.get(), room);
    if (size_ != 0) std::memcpy(larger.get(), bytes_.get(), size_);
    bytes_ = std::move(larger);
    while (size_ < room) {
      const ssize_t got = read(fd, bytes_.get() + size_, room - size_);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail_system("cannot be read", errno);
      if (got == 0) return false;
      size_ += static_cast<std::size_t>(got);
    }
    return true;
  }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::span<const std::byte> all() const { return {bytes_.get(), size_}; }

 private:
  std::unique_ptr<std::byte[]> bytes_;
  std::size_t size_ = 0;
};

FileBytes read_file(const std::string& path, const ReadLimits& limits) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) fail_system("cannot be opened", errno);
  struct stat status {};
  if (fstat(file.get(), &status) != 0) fail_system("cannot be read", errno);
  if (S_ISDIR(status.st_mode)) {
    throw DecodeError{{0, "is a directory: name the .snap files in it"}};
  }
  FileBytes bytes;
  bool more = bytes.read_up_to(file.get(), kFirstRead);
  check_head(bytes.all(), limits.max_message_bytes);
  const std::uint64_t limit =
      limits.max_message_bytes + std::min(kSlack, UINT64_MAX - limits.max_message_bytes);
  // One byte more than the file is said to have, so that its end is seen. It may grow meanwhile, and pipes
  // say nothing.
  const std::uint64_t said = S_ISREG(status.st_mode) ? static_cast<std::uint64_t>(status.st_size) + 1 : 0;
  while (more) {
    const std::size_t before = bytes.size();
    if (before > limit)
      fail_in_file(before, "is larger than the limit of " + std::to_string(limit) + " bytes");
    more = bytes.read_up_to(file.get(), std::max<std::uint64_t>(2 * before, std::min(said, limit + 1)));
  }
  return bytes;
}

Result<Snapshot, FormatError> decode(std::span<const std::byte> file, const ReadLimits& limits) {
  const PackedMessage message = unpack(file, limits.max_message_bytes);
  auto decoded = decode_message({message.bytes.get(), message.size}, memory_for(file.size()));
  if (!decoded.ok()) return decoded.error();
  if (decoded.value().totals != message.totals) {
    return FormatError{file.size() - container::kTailBytes,
                       "is damaged: the counts in its tail are not those of its message"};
  }
  if (decoded.value().snapshot.format_version != message.version) {
    return FormatError{container::kVersionAt, "is damaged: head and message name different formats"};
  }
  return std::move(decoded.value().snapshot);
}

template <class Work>
Result<Snapshot, FormatError> guarded(Work work) {
  try {
    return work();
  } catch (const DecodeError& failure) {
    return failure.error;
  } catch (const std::bad_alloc&) {
    return FormatError{0, "does not fit into the memory of this machine"};
  }
}

}  // namespace

Result<Snapshot, FormatError> read_snapshot(std::span<const std::byte> file, const ReadLimits& limits) {
  return guarded([&] { return decode(file, limits); });
}

Result<Snapshot, FormatError> read_snapshot_file(const std::string& path, const ReadLimits& limits) {
  return guarded([&] { return decode(read_file(path, limits).all(), limits); });
}

}  // namespace memtrace
