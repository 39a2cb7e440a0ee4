#include "analyzer/remote_snapshot.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <fnmatch.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "analyzer/process_status.hpp"

namespace memtrace {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr const char* kShimName = "libmemtrace.so";

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }

 private:
  int fd_;
};

fs::path proc(pid_t pid, const char* name) { return fs::path("/proc") / std::to_string(pid) / name; }

// Files in /proc have no size: read until the end. nullopt with errno set when it cannot be read.
std::optional<std::string> read_file(const fs::path& path) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return std::nullopt;
  std::string text;
  std::array<char, 65536> buffer{};
  while (true) {
    const ssize_t size = read(file.get(), buffer.data(), buffer.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return std::nullopt;
    if (size == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(size));
  }
}

// Everything that is known about a process that may be signalled.
struct Target {
  ProcessStatus status;
  int signal_number = 0;
  std::vector<fs::path> directories;  // where its snapshots may appear, as this process reaches them
};

using Refusal = SnapshotFailure;
Refusal refuse(std::string reason) { return {SnapshotFailure::Kind::kRefused, std::move(reason)}; }

Refusal unreadable(pid_t pid, const fs::path& path, int error) {
  if (error == ENOENT || error == ESRCH) return refuse(fmt::format("process {} has ended", pid));
  if (error == EACCES || error == EPERM)
    return refuse(
        fmt::format("{} may not be read: process {} belongs to another user or is out of reach; ask as that "
                    "user or as root",
                    path.string(), pid));
  return refuse(fmt::format("{}: {}", path.string(), std::strerror(error)));
}

bool same_root(pid_t pid) {
  struct stat ours {};
  struct stat theirs {};
  return stat("/", &ours) == 0 && stat((proc(pid, "root") / "").c_str(), &theirs) == 0 &&
         ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

// The shim resolves MEMTRACE_DIR against the working directory at start. /proc knows only the present one;
// PWD in the environment is the shell's view of the one at start. Where they differ, both are watched.
std::vector<fs::path> snapshot_directories(pid_t pid, std::string_view environment) {
  const fs::path setting = environment_value(environment, "MEMTRACE_DIR").value_or("");
  const fs::path prefix = same_root(pid) ? fs::path("/") : proc(pid, "root");
  std::vector<fs::path> places;
  const auto add = [&](const fs::path& in_target) {
    const fs::path reached = (prefix / in_target.relative_path()).lexically_normal();
    std::error_code error;
    // The shim makes the directory at its first snapshot.
    if (!fs::is_directory(reached, error) && !fs::is_directory(reached.parent_path(), error)) return;
    const bool known = std::any_of(places.begin(), places.end(), [&](const fs::path& place) {
      std::error_code ignored;
      return place == reached || fs::equivalent(place, reached, ignored);
    });
    if (!known) places.push_back(reached);
  };
  if (setting.is_absolute()) {
    add(setting);
    return places;
  }
  std::error_code error;
  const fs::path now = fs::read_symlink(proc(pid, "cwd"), error);
  if (!error) add(now / setting);
  if (const auto at_start = environment_value(environment, "PWD");
      at_start && fs::path(*at_start).is_absolute())
    add(*at_start / setting);
  return places;
}

// A signal that every thread blocks would stay pending.
bool blocked_in_every_thread(pid_t pid, int signal_number) {
  std::error_code error;
  bool seen = false;
  for (const auto& thread : fs::directory_iterator(proc(pid, "task"), error)) {
    const auto text = read_file(thread.path() / "status");
    const auto status = text ? parse_process_status(*text) : std::nullopt;
    if (!status) continue;
    if (!contains_signal(status->blocked, signal_number)) return false;
    seen = true;
  }
  return seen;
}

std::optional<Refusal> settings_refuse(pid_t pid, std::string_view environment) {
  if (environment_value(environment, "MEMTRACE") == "0")
    return refuse(
        fmt::format("process {} was started with MEMTRACE=0: the shim is loaded and does nothing", pid));
  const auto only = environment_value(environment, "MEMTRACE_ONLY");
  std::error_code error;
  const std::string name = fs::read_symlink(proc(pid, "exe"), error).filename().string();
  if (!only || only->empty() || error) return std::nullopt;
  for (std::string_view rest = *only; !rest.empty();) {
    const std::size_t end = std::min(rest.find(','), rest.size());
    if (fnmatch(std::string(rest.substr(0, end)).c_str(), name.c_str(), 0) == 0) return std::nullopt;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return refuse(fmt::format("process {} runs {}, which MEMTRACE_ONLY={} leaves out", pid, name, *only));
}

std::variant<Target, Refusal> examine(pid_t pid) {
  const auto status_text = read_file(proc(pid, "status"));
  if (!status_text) {
    if (errno == ENOENT) return refuse(fmt::format("there is no process {}", pid));
    return unreadable(pid, proc(pid, "status"), errno);
  }
  const auto status = parse_process_status(*status_text);
  if (!status) return refuse(fmt::format("/proc/{}/status is not as expected", pid));
  if (status->state == 'Z' || status->state == 'X')
    return refuse(fmt::format("process {} has ended and waits for its parent (a zombie)", pid));

  const auto maps = read_file(proc(pid, "maps"));
  if (!maps) return unreadable(pid, proc(pid, "maps"), errno);
  if (!mapped_file(*maps, kShimName))
    return refuse(
        fmt::format("{} is not loaded in process {}: start it with \"memtrace run -- ...\" or "
                    "LD_PRELOAD={}",
                    kShimName, pid, kShimName));

  const auto environment = read_file(proc(pid, "environ"));
  if (!environment) return unreadable(pid, proc(pid, "environ"), errno);
  if (auto refusal = settings_refuse(pid, *environment)) return *refusal;

  Target target;
  target.status = *status;
  const std::string setting = environment_value(*environment, "MEMTRACE_SIGNAL").value_or("SIGUSR2");
  // The shim answers a setting that it does not understand with its default.
  target.signal_number = parse_trigger_signal(setting).value_or(SIGUSR2);
  if (target.signal_number == 0)
    return refuse(fmt::format("process {} was started with MEMTRACE_SIGNAL=none", pid));
  const std::string name = fmt::format("signal {} (MEMTRACE_SIGNAL={})", target.signal_number, setting);
  if (contains_signal(status->ignored, target.signal_number))
    return refuse(fmt::format("process {} ignores {}, which the shim respects", pid, name));
  if (!contains_signal(status->caught, target.signal_number))
    return refuse(fmt::format(
        "process {} has no handler for {}: it would be killed. The shim is not ready, or inactive "
        "(a setting, or privileges); MEMTRACE_LOG=info tells",
        pid, name));
  if (blocked_in_every_thread(pid, target.signal_number))
    return refuse(
        fmt::format("every thread of process {} blocks {}: choose another with MEMTRACE_SIGNAL", pid, name));

  target.directories = snapshot_directories(pid, *environment);
  if (target.directories.empty())
    return refuse(
        fmt::format("the directory for snapshots of process {} cannot be reached: see MEMTRACE_DIR", pid));
  return target;
}

// Root takes the target's identity while it works in a directory where others may write.
class AsTarget {
 public:
  explicit AsTarget(const ProcessStatus& status) : changed_(geteuid() == 0 && status.effective_uid != 0) {
    if (changed_ && (setegid(status.effective_gid) != 0 || seteuid(status.effective_uid) != 0)) std::abort();
  }
  ~AsTarget() {
    if (changed_ && (seteuid(0) != 0 || setegid(0) != 0)) std::abort();
  }
  AsTarget(const AsTarget&) = delete;
  AsTarget& operator=(const AsTarget&) = delete;

 private:
  bool changed_;
};

// The files through which the shim learns the label; removed again if it did not take them.
class LabelFiles {
 public:
  explicit LabelFiles(const Target& target) : target_(target) {}
  ~LabelFiles() {
    const AsTarget identity(target_.status);
    for (const fs::path& path : paths_) unlink(path.c_str());
  }
  LabelFiles(const LabelFiles&) = delete;
  LabelFiles& operator=(const LabelFiles&) = delete;

  // False with errno set when not one could be written.
  bool write(std::string_view label) {
    const AsTarget identity(target_.status);
    int error = 0;
    for (const fs::path& directory : target_.directories) {
      mkdir(directory.c_str(), 0700);  // as the shim would at its first snapshot
      const fs::path path = directory / fmt::format(".memtrace-label.{}", target_.status.own_pid);
      unlink(path.c_str());  // a stale one, of a request that was never answered
      const FileDescriptor file(
          open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
      if (file.valid()) paths_.push_back(path);
      if (!file.valid() ||
          ::write(file.get(), label.data(), label.size()) != static_cast<ssize_t>(label.size()))
        error = errno;
    }
    errno = error;
    return !paths_.empty();
  }

 private:
  const Target& target_;
  std::vector<fs::path> paths_;
};

std::set<fs::path> snapshots_in(const Target& target, std::string_view label) {
  std::set<fs::path> found;
  for (const fs::path& directory : target.directories) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(directory, error))
      if (is_snapshot_of(entry.path().filename().string(), target.status.own_pid, label))
        found.insert(entry.path());
  }
  return found;
}

// Returns when something may have changed: a file appeared, the process ended, or a moment passed.
void wait_for_change(const FileDescriptor& inotify, const FileDescriptor& process) {
  constexpr int kLongestStepMs = 50;  // directories that inotify cannot watch are looked at this often
  std::array<pollfd, 2> events{{{inotify.get(), POLLIN, 0}, {process.get(), POLLIN, 0}}};
  poll(events.data(), events.size(), kLongestStepMs);
  std::array<char, 4096> ignored{};
  if ((events[0].revents & POLLIN) != 0) [[maybe_unused]]
    const ssize_t size = read(inotify.get(), ignored.data(), ignored.size());
}

bool has_ended(const FileDescriptor& process, pid_t pid) {
  if (!process.valid()) return kill(pid, 0) != 0 && errno == ESRCH;
  pollfd event{process.get(), POLLIN, 0};
  return poll(&event, 1, 0) > 0;
}

int send_signal(const FileDescriptor& process, pid_t pid, int signal_number) {
  if (process.valid() && syscall(SYS_pidfd_send_signal, process.get(), signal_number, nullptr, 0) == 0)
    return 0;
  if (process.valid() && errno != ENOSYS) return errno;
  return kill(pid, signal_number) == 0 ? 0 : errno;
}

SnapshotFailure timed_out(const SnapshotRequest& request, const Target& target) {
  std::string places;
  for (const fs::path& directory : target.directories) places += fmt::format(" {}", directory.string());
  return {SnapshotFailure::Kind::kTimedOut,
          fmt::format(
              "process {} was signalled, and no snapshot came within {} ms. Look for: a directory that the "
              "process "
              "cannot write to (one of{}); the signal blocked by the thread that got it; a stopped process; "
              "a message "
              "on its stderr (MEMTRACE_LOG=info says more)",
              request.pid, request.timeout.count(), places)};
}

}  // namespace

std::variant<fs::path, SnapshotFailure> take_remote_snapshot(const SnapshotRequest& request) {
  // Opened before the checks: a later process with the same number is not the one that is signalled.
  const FileDescriptor process(static_cast<int>(syscall(SYS_pidfd_open, request.pid, 0)));
  const auto examined = examine(request.pid);
  if (const auto* refusal = std::get_if<Refusal>(&examined)) return *refusal;
  const Target& target = std::get<Target>(examined);

  const FileDescriptor inotify(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  for (const fs::path& directory : target.directories)
    inotify_add_watch(inotify.get(), directory.c_str(), IN_MOVED_TO | IN_CREATE);
  const std::set<fs::path> before = snapshots_in(target, request.label);

  LabelFiles label(target);
  if (!request.label.empty() && !label.write(request.label))
    return refuse(fmt::format("the label cannot be left in {}: {}", target.directories.front().string(),
                              std::strerror(errno)));

  if (const int error = send_signal(process, request.pid, target.signal_number); error != 0) {
    return refuse(error == ESRCH
                      ? fmt::format("process {} has ended", request.pid)
                      : fmt::format("process {} cannot be signalled: {}", request.pid, std::strerror(error)));
  }
  const Clock::time_point end = Clock::now() + request.timeout;
  while (true) {
    const bool last_look = Clock::now() >= end;
    const bool ended = has_ended(process, request.pid);
    const std::set<fs::path> now = snapshots_in(target, request.label);
    std::vector<fs::path> fresh;
    std::set_difference(now.begin(), now.end(), before.begin(), before.end(), std::back_inserter(fresh));
    if (!fresh.empty()) return fresh.front();
    if (ended)
      return SnapshotFailure{SnapshotFailure::Kind::kTimedOut,
                             fmt::format("process {} ended before its snapshot was whole", request.pid)};
    if (last_look) return timed_out(request, target);
    wait_for_change(inotify, process);
  }
}

}  // namespace memtrace
