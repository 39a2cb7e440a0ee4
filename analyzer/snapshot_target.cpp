#include "analyzer/snapshot_target.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <fnmatch.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>

#include "format/file_descriptor.hpp"

namespace memtrace {
namespace {

namespace fs = std::filesystem;

constexpr const char* kShimName = "libmemtrace.so";

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

Refusal refuse(std::string reason) { return {std::move(reason)}; }

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
// An environment that is in doubt may name a wrong place: the working directory is then watched as well.
std::vector<fs::path> snapshot_directories(pid_t pid, std::string_view environment, const fs::path& given,
                                           bool in_doubt) {
  const fs::path setting =
      given.empty() ? fs::path(environment_value(environment, "MEMTRACE_DIR").value_or("")) : given;
  const fs::path prefix = same_root(pid) ? fs::path("/") : proc(pid, "root");
  std::vector<fs::path> places;
  std::error_code error;
  const auto add_once = [&](const fs::path& reached) {
    const bool known = std::any_of(places.begin(), places.end(), [&](const fs::path& place) {
      std::error_code ignored;
      return place == reached || fs::equivalent(place, reached, ignored);
    });
    if (!known) places.push_back(reached);
  };
  const auto add = [&](const fs::path& in_target) {
    const fs::path reached = (prefix / in_target.relative_path()).lexically_normal();
    // The shim makes the directory at its first snapshot.
    if (fs::is_directory(reached, error) || fs::is_directory(reached.parent_path(), error)) add_once(reached);
  };
  // A path on the command line may be meant as this process sees it.
  if (!given.empty() && fs::is_directory(given, error))
    add_once(fs::absolute(given, error).lexically_normal());
  if (setting.is_absolute()) {
    add(setting);
    if (!in_doubt) return places;
  }
  const fs::path beside = setting.is_absolute() ? fs::path() : setting;
  const fs::path now = fs::read_symlink(proc(pid, "cwd"), error);
  if (!error) add(now / beside);
  if (const auto at_start = environment_value(environment, "PWD");
      at_start && fs::path(*at_start).is_absolute())
    add(*at_start / beside);
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
  // The shim also goes by the link that started the program, which only the program knows for certain.
  const std::string started_as = fs::path(read_file(proc(pid, "cmdline")).value_or("").c_str()).filename();
  for (std::string_view rest = *only; !rest.empty();) {
    const std::size_t end = std::min(rest.find(','), rest.size());
    const std::string pattern(rest.substr(0, end));
    if (fnmatch(pattern.c_str(), name.c_str(), 0) == 0 ||
        fnmatch(pattern.c_str(), started_as.c_str(), 0) == 0)
      return std::nullopt;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return refuse(fmt::format("process {} runs {}, which MEMTRACE_ONLY={} leaves out", pid, name, *only));
}

// A program that confines its own children by seccomp, as sshd does: their filters may lack what it takes to
// return from a signal's handler. A service that a supervisor or a container started under filters, whose
// parent is not traced, knows how to live with them.
std::optional<Refusal> confinement_refuses(pid_t pid, const ProcessStatus& status) {
  const auto maps = read_file(proc(status.parent, "maps"));
  const auto parents_text = read_file(proc(status.parent, "status"));
  const auto parents = parents_text ? parse_process_status(*parents_text) : std::nullopt;
  if (!maps || !mapped_file(*maps, kShimName) || !parents ||
      status.seccomp_filters <= parents->seccomp_filters)
    return std::nullopt;
  return refuse(fmt::format(
      "process {} was confined by seccomp after its parent {} had made it: the signal might kill it", pid,
      status.parent));
}

}  // namespace

std::variant<SnapshotTarget, Refusal> examine_target(pid_t pid, const TargetHints& hints) {
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

  SnapshotTarget target;
  target.status = *status;
  if (!is_environment(*environment) && (hints.directory.empty() || !hints.signal_number))
    target.doubt =
        "; the program overwrote its environment (or got the shim without LD_PRELOAD), where MEMTRACE_DIR "
        "and "
        "MEMTRACE_SIGNAL would stand: --dir and --signal tell what they are";
  const std::string setting = environment_value(*environment, "MEMTRACE_SIGNAL").value_or("SIGUSR2");
  // The shim answers a setting that it does not understand with its default.
  target.signal_number = hints.signal_number.value_or(parse_trigger_signal(setting).value_or(SIGUSR2));
  if (target.signal_number == 0)
    return refuse(fmt::format("process {} was started with MEMTRACE_SIGNAL=none", pid));
  const std::string name = hints.signal_number
                               ? fmt::format("signal {}", target.signal_number)
                               : fmt::format("signal {} (MEMTRACE_SIGNAL={})", target.signal_number, setting);
  if (contains_signal(status->ignored, target.signal_number))
    return refuse(fmt::format("process {} ignores {}, which the shim respects{}", pid, name, target.doubt));
  if (!contains_signal(status->caught, target.signal_number))
    return refuse(fmt::format(
        "process {} has no handler for {}: it would be killed. The shim is not ready, or inactive "
        "(a setting, or privileges); MEMTRACE_LOG=info tells{}",
        pid, name, target.doubt));
  if (auto refusal = confinement_refuses(pid, *status)) return *refusal;
  if (blocked_in_every_thread(pid, target.signal_number))
    return refuse(fmt::format("every thread of process {} blocks {}: choose another with MEMTRACE_SIGNAL{}",
                              pid, name, target.doubt));

  target.directories = snapshot_directories(pid, *environment, hints.directory,
                                            !target.doubt.empty() && hints.directory.empty());
  if (target.directories.empty())
    return refuse(
        fmt::format("the directory for snapshots of process {} cannot be reached: see MEMTRACE_DIR{}", pid,
                    target.doubt));
  return target;
}

}  // namespace memtrace
