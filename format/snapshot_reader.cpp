#include "format/snapshot_reader.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <optional>
#include <vector>

#include "format/container_reader.hpp"
#include "format/decode_error.hpp"
#include "format/message_decoder.hpp"

namespace memtrace {
namespace {

// Enough for the head, and to tell what a foreign file is.
constexpr std::size_t kFirstRead = 64 * 1024;
// A file larger than its message is possible (incompressible, many frames), one much larger is not ours.
constexpr std::uint64_t kSlack = 1 << 20;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

[[noreturn]] void fail_system(const char* what, int error) {
  throw DecodeError{{0, std::string(what) + ": " + std::strerror(error)}};
}

// Appends until `file` has `size` bytes or the end is reached: pipes give less than asked for.
void read_up_to(int fd, std::size_t size, std::vector<std::byte>& file) {
  std::size_t used = file.size();
  file.resize(size);
  while (used < size) {
    const ssize_t got = read(fd, file.data() + used, size - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_system("cannot be read", errno);
    if (got == 0) break;
    used += static_cast<std::size_t>(got);
  }
  file.resize(used);
}

std::vector<std::byte> read_file(const std::string& path, const ReadLimits& limits) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) fail_system("cannot be opened", errno);
  struct stat status {};
  if (fstat(file.get(), &status) != 0) fail_system("cannot be read", errno);
  if (S_ISDIR(status.st_mode)) {
    throw DecodeError{{0, "is a directory: name the .snap files in it"}};
  }
  std::vector<std::byte> bytes;
  read_up_to(file.get(), kFirstRead, bytes);
  check_head(bytes, limits.max_message_bytes);
  const std::uint64_t limit =
      limits.max_message_bytes + std::min(kSlack, UINT64_MAX - limits.max_message_bytes);
  // Grows with what has been read: a size on disk may be a hole.
  while (bytes.size() >= kFirstRead) {
    const std::size_t before = bytes.size();
    if (before > limit)
      fail_in_file(before, "is larger than the limit of " + std::to_string(limit) + " bytes");
    read_up_to(file.get(), 2 * before, bytes);
    if (bytes.size() < 2 * before) break;
  }
  return bytes;
}

Result<Snapshot, FormatError> decode(std::span<const std::byte> file, const ReadLimits& limits) {
  const PackedMessage message = unpack(file, limits.max_message_bytes);
  auto decoded = decode_message({message.bytes.get(), message.size});
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
  return guarded([&] { return decode(read_file(path, limits), limits); });
}

}  // namespace memtrace
