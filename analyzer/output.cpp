#include "analyzer/output.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>

namespace memtrace {
namespace {

// 0 or an errno value.
int write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

std::string failure(const std::string& path, int error) {
  return fmt::format("{}: cannot write: {}", path, std::strerror(error));
}

bool is_special_file(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
}

std::string write_special_file(const std::string& path, std::string_view text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return failure(path, errno);
  const int error = write_all(fd, text);
  close(fd);
  return error == 0 ? "" : failure(path, error);
}

struct Place {
  std::string path;
  mode_t mode;
};

// A file that is there keeps its mode, and a link that leads to it stays one.
Place place_of(const std::string& path) {
  struct stat status {};
  std::error_code error;
  const std::filesystem::path target = std::filesystem::canonical(path, error);
  if (!error && stat(target.c_str(), &status) == 0) return {target, status.st_mode & 0777};
  const mode_t mask = umask(0);
  umask(mask);
  return {path, 0666 & ~mask};
}

}  // namespace

std::string write_file(const std::string& path, std::string_view text, Overwrite overwrite) {
  if (is_special_file(path)) return write_special_file(path, text);  // /dev/null, a named pipe
  if (overwrite == Overwrite::kRefuse && access(path.c_str(), F_OK) == 0) {
    return fmt::format("{}: exists already; -f overwrites it", path);
  }
  const Place place = place_of(path);
  // Beside its place and moved there whole: an interrupted run leaves no half report.
  std::string temporary = place.path + ".XXXXXX";
  const int fd = mkstemp(temporary.data());
  if (fd < 0) return failure(path, errno);
  int error = fchmod(fd, place.mode) == 0 ? write_all(fd, text) : errno;
  if (close(fd) != 0 && error == 0) error = errno;
  if (error == 0) {
    const bool moved = overwrite == Overwrite::kAllow ? rename(temporary.c_str(), place.path.c_str()) == 0
                                                      : link(temporary.c_str(), place.path.c_str()) == 0;
    if (!moved) error = errno;
  }
  if (error != 0 || overwrite == Overwrite::kRefuse) unlink(temporary.c_str());
  if (error == EEXIST) return fmt::format("{}: exists already; -f overwrites it", path);
  return error == 0 ? "" : failure(path, error);
}

void write_stderr(std::string_view text) noexcept { (void)write_all(STDERR_FILENO, text); }

std::string write_stdout(std::string_view text) {
  const int error = write_all(STDOUT_FILENO, text);
  return error == 0 || error == EPIPE ? "" : failure("stdout", error);
}

}  // namespace memtrace
