#include "analyzer/remote_snapshot.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <grp.h>
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
#include <iterator>
#include <set>
#include <string_view>
#include <vector>

#include "analyzer/process_status.hpp"
#include "format/file_descriptor.hpp"
#include "format/types.hpp"

namespace memtrace {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

SnapshotFailure refused(std::string reason) { return {SnapshotFailure::Kind::kRefused, std::move(reason)}; }

// Root takes the target's identity while it works in a directory where others may write.
class AsTarget {
 public:
  explicit AsTarget(const ProcessStatus& status) : changed_(geteuid() == 0 && status.effective_uid != 0) {
    if (!changed_) return;
    // Root's other groups may write where the target may not. Some user namespaces keep them.
    groups_.resize(static_cast<std::size_t>(std::max(getgroups(0, nullptr), 0)));
    groups_dropped_ =
        getgroups(static_cast<int>(groups_.size()), groups_.data()) >= 0 && setgroups(0, nullptr) == 0;
    if (setegid(status.effective_gid) != 0 || seteuid(status.effective_uid) != 0) std::abort();
  }
  ~AsTarget() {
    if (!changed_) return;
    if (seteuid(0) != 0 || setegid(0) != 0) std::abort();
    if (groups_dropped_ && setgroups(groups_.size(), groups_.data()) != 0) std::abort();
  }
  AsTarget(const AsTarget&) = delete;
  AsTarget& operator=(const AsTarget&) = delete;

 private:
  bool changed_;
  bool groups_dropped_ = false;
  std::vector<gid_t> groups_;
};

// The files through which the shim learns the label; removed again if it did not take them.
class LabelFiles {
 public:
  explicit LabelFiles(const SnapshotTarget& target) : target_(target) {}
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
  const SnapshotTarget& target_;
  std::vector<fs::path> paths_;
};

std::set<fs::path> snapshots_in(const SnapshotTarget& target, std::string_view label) {
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

// Queued with a value by which the shim knows it from signals that are the program's.
int send_signal(const FileDescriptor& process, pid_t pid, int signal_number) {
  siginfo_t info{};
  info.si_signo = signal_number;
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value.sival_ptr = reinterpret_cast<void*>(kSnapshotIsMeant);
  if (process.valid() && syscall(SYS_pidfd_send_signal, process.get(), signal_number, &info, 0) == 0)
    return 0;
  if (process.valid() && errno != ENOSYS) return errno;
  return syscall(SYS_rt_sigqueueinfo, pid, signal_number, &info) == 0 ? 0 : errno;
}

SnapshotFailure timed_out(const SnapshotRequest& request, const SnapshotTarget& target) {
  std::string places;
  for (const fs::path& directory : target.directories) places += fmt::format(" {}", directory.string());
  return {SnapshotFailure::Kind::kTimedOut,
          fmt::format(
              "process {} was signalled, and no snapshot came within {} ms. Look for: a directory that the "
              "process cannot write to (one of{}); the signal blocked by the thread that got it; a stopped "
              "process; a process that has confined itself (seccomp); a program that takes this signal over "
              "by means of its own (start it with another "
              "MEMTRACE_SIGNAL, such as SIGRTMIN+1); a message on its stderr (MEMTRACE_LOG=info says more){}",
              request.pid, request.timeout.count(), places, target.doubt)};
}

}  // namespace

std::variant<fs::path, SnapshotFailure> take_remote_snapshot(const SnapshotRequest& request) {
  // Opened before the checks: a later process with the same number is not the one that is signalled.
  const FileDescriptor process(static_cast<int>(syscall(SYS_pidfd_open, request.pid, 0)));
  const auto examined = examine_target(request.pid, request.hints);
  if (const auto* refusal = std::get_if<Refusal>(&examined)) return refused(refusal->reason);
  const auto& target = std::get<SnapshotTarget>(examined);

  const FileDescriptor inotify(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  for (const fs::path& directory : target.directories)
    inotify_add_watch(inotify.get(), directory.c_str(), IN_MOVED_TO | IN_CREATE);
  const std::set<fs::path> before = snapshots_in(target, request.label);

  LabelFiles label(target);
  if (!request.label.empty() && !label.write(request.label))
    return refused(fmt::format("the label cannot be left in {}: {}", target.directories.front().string(),
                               std::strerror(errno)));

  if (const int error = send_signal(process, request.pid, target.signal_number); error != 0) {
    return refused(error == ESRCH ? fmt::format("process {} has ended", request.pid)
                                  : fmt::format("process {} cannot be signalled: {}", request.pid,
                                                std::strerror(error)));
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
      return SnapshotFailure{
          SnapshotFailure::Kind::kTimedOut,
          fmt::format("process {} ended before its snapshot was whole; if this signal ended it, "
                      "start it with another MEMTRACE_SIGNAL, such as SIGRTMIN+1",
                      request.pid)};
    if (last_look) return timed_out(request, target);
    wait_for_change(inotify, process);
  }
}

}  // namespace memtrace
