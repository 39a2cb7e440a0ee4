#include "preload/snapshotter.hpp"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/utsname.h>

#include "format/snapshot_writer.hpp"
#include "preload/counters.hpp"
#include "preload/snapshot_content.hpp"
#include "preload/snapshot_file.hpp"
#include "preload/sys/pages.hpp"
#include "preload/sys/syscalls.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {

constinit Snapshotter g_snapshotter;

namespace {

// Up to `room` bytes of a small file, without its newline.
std::string_view read_small(const char* path, char* out, std::size_t room) {
  const long fd = sys::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const long got = sys::read(static_cast<int>(fd), out, room);
  sys::close(static_cast<int>(fd));
  if (got <= 0) return {};
  std::size_t size = static_cast<std::size_t>(got);
  while (size > 0 && out[size - 1] == '\n') --size;
  return {out, size};
}

std::uint64_t resident_bytes() {
  char text[128];
  const std::string_view statm = read_small("/proc/self/statm", text, sizeof text);
  std::size_t i = 0;
  while (i < statm.size() && statm[i] != ' ') ++i;
  std::uint64_t pages = 0;
  for (++i; i < statm.size() && statm[i] >= '0' && statm[i] <= '9'; ++i) {
    pages = pages * 10 + static_cast<std::uint64_t>(statm[i] - '0');
  }
  return pages * kPageBytes;
}

std::string_view base_name(std::string_view path) {
  std::size_t slash = path.size();
  while (slash > 0 && path[slash - 1] != '/') --slash;
  return {path.data() + slash, path.size() - slash};
}

// Debian's redis-server is a link to redis-check-rdb: people know a program by the path that started it. A
// script's path, the loader's and those of open files say nothing of the kind: empty then.
std::string_view link_to_executable() {
  const auto* path = reinterpret_cast<const char*>(getauxval(AT_EXECFN));
  if (!path || path[0] != '/' || !sys::same_file("/proc/self/exe", path)) return {};
  const std::string_view text(path);
  for (const std::string_view place : {std::string_view("/proc/"), std::string_view("/dev/")}) {
    if (text.size() > place.size() && std::string_view(text.data(), place.size()) == place) return {};
  }
  return text;
}

// What comes after it must fit into the line, too.
void append_path(Line& line, const Path& path) {
  constexpr std::size_t kMost = 300;
  const std::string_view whole = path.view();
  line << std::string_view(whole.data(), whole.size() < kMost ? whole.size() : kMost)
       << (whole.size() > kMost ? "..." : "");
}

void report_failure(const Path& path, int error) {
  Line line;
  line << "cannot write snapshot ";
  append_path(line, path);
  line << ": ";
  diag::append_error(line, error);
  diag::say(LogLevel::kError, line);
}

}  // namespace

std::string_view Snapshotter::executable_name() const { return base_name(exe_.view()); }

void Snapshotter::learn_names() {
  char buffer[4096];
  const long size = sys::readlink("/proc/self/exe", buffer, sizeof buffer);
  if (size > 0) exe_ << std::string_view(buffer, static_cast<std::size_t>(size));
  const std::string_view started_as = link_to_executable();
  program_ << (started_as.empty() ? exe_.view() : started_as);
  const std::string_view name = base_name(program_.view());
  name_ << (name.empty() ? std::string_view("unknown") : name);
}

bool Snapshotter::start(const Options& options) {
  if (name_.view().empty()) learn_names();

  // Relative to where the program starts, wherever a daemon changes to later.
  char buffer[4096];
  if (options.dir.empty() || options.dir[0] != '/') {
    const long size = sys::call(SYS_getcwd, buffer, sizeof buffer);
    if (size > 1) directory_ << std::string_view(buffer, static_cast<std::size_t>(size) - 1);
    if (!options.dir.empty()) directory_ << "/";
  }
  directory_ << options.dir;

  utsname names{};
  if (sys::call(SYS_uname, &names) == 0) host_ << std::string_view(names.nodename);
  boot_id_ << read_small("/proc/sys/kernel/random/boot_id", buffer, sizeof buffer);
  tags_ << options.tags;
  modules_.start(g_tracker.arena);
  workspace_ =
      static_cast<std::byte*>(sys::map_pages(SnapshotWriter::workspace_bytes() + Modules::kScratchBytes));
  if (workspace_) sys::advise(workspace_, SnapshotWriter::workspace_bytes(), MADV_DONTDUMP);
  renew_session();
  return workspace_ != nullptr;
}

// A forked child is a session of its own: drawn here, so that its allocation path needs no system call for
// it.
void Snapshotter::renew_session() {
  const std::uint32_t generation = g_tracker.forks.generation();
  if (session_drawn_ && generation == session_generation_) return;
  session_drawn_ = true;
  session_generation_ = generation;
  sequence_ = 0;
  pid_ = sys::pid();
  parent_ = static_cast<std::uint64_t>(sys::call(SYS_getppid));
  if (sys::call(SYS_getrandom, session_.bytes.data(), session_.bytes.size(), GRND_NONBLOCK) !=
      static_cast<long>(session_.bytes.size())) {
    // Unique all the same: this process at this moment.
    const std::uint64_t words[2] = {static_cast<std::uint64_t>(sys::clock_ns(CLOCK_REALTIME)),
                                    pid_ * 0x9e3779b97f4a7c15};
    __builtin_memcpy(session_.bytes.data(), words, sizeof words);
  }
}

// `memtrace snap --label` leaves its label in the directory; whoever could write there may name a snapshot.
void Snapshotter::adopt_label(Label& label) {
  Path path;
  path << directory_.view() << "/.memtrace-label." << pid_;
  const long fd = sys::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return;
  char text[kMaxLabel];
  const long got = sys::read(static_cast<int>(fd), text, sizeof text);
  sys::close(static_cast<int>(fd));
  sys::unlink(path.c_str());
  for (long i = 0; i < got && label_char(text[i]); ++i) label << std::string_view(text + i, 1);
}

int Snapshotter::write_all(int fd, const SnapshotRequest& request) {
  FileSink file{fd};
  SnapshotWriter writer({workspace_, SnapshotWriter::workspace_bytes()},
                        {&file, FileSink::append, FileSink::overwrite});
  const std::int64_t now = sys::clock_ns(CLOCK_MONOTONIC);
  const std::int64_t realtime = sys::clock_ns(CLOCK_REALTIME);
  const std::int64_t started = g_tracker.session_start_ns.load(std::memory_order_relaxed);
  writer.begin();
  ProcessInfo process;
  process.session = session_;
  process.pid = pid_;
  process.ppid = parent_;
  process.boot_id = boot_id_.view();
  process.exe = program_.view();
  process.host = host_.view();
  process.tags = tags_.view();
  process.rss_bytes = resident_bytes();
  process.start_realtime_ns = realtime - (now - started);
  process.start_monotonic_ns = started;
  writer.process(process);
  writer.trigger({request.reason, request.label.view(), sequence_});
  writer.clocks({realtime, now, sys::clock_ns(CLOCK_BOOTTIME)});
  writer.sampling({g_tracker.sampling.mode, g_tracker.sampling.interval_bytes, g_tracker.fixed_seed,
                   g_tracker.max_frames, g_tracker.unwinder.name});

  const bool any_gone =
      modules_.refresh(exe_.view(), g_tracker.module_notes, g_tracker.stacks.size(),
                       reinterpret_cast<char*>(workspace_) + SnapshotWriter::workspace_bytes());
  if (any_gone) refresh_unwinder();
  const int error = write_content(writer, modules_);
  const int write_error = writer.finish();
  return write_error ? write_error : error;
}

int Snapshotter::open_directory(Line& problem) {
  const int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  long fd = sys::open(directory_.c_str(), flags);
  if (fd == -ENOENT) {
    const long made = sys::call(SYS_mkdirat, AT_FDCWD, directory_.c_str(), 0700);
    // EEXIST: another process was faster.
    fd = made == 0 || made == -EEXIST ? sys::open(directory_.c_str(), flags) : made;
  }
  if (fd < 0) {
    problem << "snapshot refused: directory ";
    append_path(problem, directory_);
    problem << ": ";
    diag::append_error(problem, static_cast<int>(-fd))
        << "; set MEMTRACE_DIR to a directory that can be written";
  }
  return static_cast<int>(fd);
}

int Snapshotter::publish(int directory, std::string_view temporary, const Label& label) {
  FixedText<256> name;
  for (int attempt = 0; attempt < 1000; ++attempt) {
    name.clear();
    name << name_.view() << "." << pid_ << ".";
    for (int i = 0; i < 4; ++i) name.hex(session_.bytes[static_cast<std::size_t>(i)], 2);
    name << ".";
    name.padded(sequence_, 4);
    if (!label.view().empty()) name << "." << label.view();
    name << ".snap";
    path_.clear();
    path_ << directory_.view() << "/" << name.view();
    const int error = publish_file(directory, temporary.data(), name.c_str());
    if (error != EEXIST) return error;
    ++sequence_;  // somebody else's file: never replaced
  }
  return EEXIST;
}

int Snapshotter::take(const SnapshotRequest& request) {
  if (!workspace_) return ENOMEM;
  renew_session();
  SnapshotRequest wanted = request;
  if (wanted.reason == TriggerReason::kSignal) adopt_label(wanted.label);

  Line problem;
  const int directory = open_directory(problem);
  if (directory < 0) {
    diag::say(LogLevel::kError, problem);
    count(g_counters.snapshots_failed);
    return -directory;
  }
  FixedText<128> temporary;
  temporary << "." << name_.view() << "." << pid_ << ".";
  for (int i = 4; i < 12; ++i) temporary.hex(session_.bytes[static_cast<std::size_t>(i)], 2);
  temporary << ".tmp";
  path_.clear();
  path_ << directory_.view() << "/" << temporary.view();
  sys::call(SYS_unlinkat, directory, temporary.c_str(), 0);  // our own, from a snapshot that a fork cut short
  const long fd = sys::call(SYS_openat, directory, temporary.c_str(),
                            O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  int error = fd < 0 ? static_cast<int>(-fd) : 0;
  if (fd < 0) {
    problem << "snapshot refused: directory ";
    append_path(problem, directory_);
    problem << ": ";
    diag::append_error(problem, error) << "; set MEMTRACE_DIR to a directory that can be written";
    diag::say(LogLevel::kError, problem);
  } else {
    ++sequence_;
    error = write_all(static_cast<int>(fd), wanted);
    if (error == 0) error = static_cast<int>(-sys::call(SYS_fsync, fd));
    sys::close(static_cast<int>(fd));
    if (error == 0) error = publish(directory, temporary.view(), wanted.label);
    if (error != 0) {
      sys::call(SYS_unlinkat, directory, temporary.c_str(), 0);
      report_failure(path_, error);
      --sequence_;
    }
  }
  sys::close(directory);
  // Between snapshots the workspace costs address space only.
  sys::advise(workspace_, SnapshotWriter::workspace_bytes() + Modules::kScratchBytes, MADV_DONTNEED);
  if (error != 0) {
    count(g_counters.snapshots_failed);
    return error;
  }
  count(g_counters.snapshots_written);
  Line line;
  line << "snapshot " << path_.view();
  diag::say(LogLevel::kInfo, line);
  return 0;
}

}  // namespace memtrace
