#include "tests/support/preloaded.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "format/snapshot_reader.hpp"

namespace memtrace::test {

namespace fs = std::filesystem;

fs::path shim_path() { return MEMTRACE_SHIM; }
fs::path program_path(const std::string& name) { return fs::path(MEMTRACE_PROGRAMS) / name; }

namespace {

std::string read_file(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (auto& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

struct Pipe {
  int read = -1;
  int write = -1;
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    read = ends[0];
    write = ends[1];
  }
};

}  // namespace

Preloaded::Preloaded(const std::string& program, std::vector<std::string> arguments)
    : program_(program.find('/') == std::string::npos ? program_path(program) : fs::path(program)),
      arguments_(std::move(arguments)) {
  set("PATH", "/usr/local/bin:/usr/bin:/bin");
  set("LD_PRELOAD", shim_path());
  set("MEMTRACE_DIR", dir_.path());
}

Preloaded::~Preloaded() {
  if (to_victim_ >= 0) close(to_victim_);
  if (from_victim_ >= 0) close(from_victim_);
  if (pid_ > 0) {
    ::kill(-pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
}

Preloaded& Preloaded::set(const std::string& name, const std::string& value) {
  const auto known = std::find_if(environment_.begin(), environment_.end(),
                                  [&](const auto& entry) { return entry.first == name; });
  if (known == environment_.end()) {
    environment_.emplace_back(name, value);
  } else {
    known->second = value;
  }
  return *this;
}

Preloaded& Preloaded::unset(const std::string& name) {
  std::erase_if(environment_, [&](const auto& entry) { return entry.first == name; });
  return *this;
}

Preloaded& Preloaded::in_child(std::function<void()> before_exec) {
  before_exec_.push_back(std::move(before_exec));
  return *this;
}

void Preloaded::start() {
  std::vector<std::string> words{program_.string()};
  words.insert(words.end(), arguments_.begin(), arguments_.end());
  std::vector<std::string> entries;
  for (const auto& [name, value] : environment_) entries.push_back(name + "=" + value);
  const auto argv = pointers(words);
  const auto envp = pointers(entries);
  const std::string err = errors_.path() / "stderr";

  const Pipe in;
  const Pipe out;
  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("fork");
  if (pid_ == 0) {
    setpgid(0, 0);
    const int err_fd = open(err.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (dup2(in.read, 0) < 0 || dup2(out.write, 1) < 0 || dup2(err_fd, 2) < 0) _exit(126);
    if (chdir(dir_.path().c_str()) != 0) _exit(126);
    for (const auto& step : before_exec_) step();
    execve(argv[0], argv.data(), envp.data());
    _exit(127);
  }
  setpgid(pid_, pid_);  // whichever of the two comes first
  close(in.read);
  close(out.write);
  to_victim_ = in.write;
  from_victim_ = out.read;
}

void Preloaded::give_up(const std::string& why) {
  throw std::runtime_error(program_.filename().string() + " " + why + "; its stderr: " + errors());
}

// One read of the victim's output; false at its end.
bool Preloaded::fill() {
  pollfd readable{from_victim_, POLLIN, 0};
  const auto patience = std::chrono::milliseconds(kPatience).count();
  if (poll(&readable, 1, static_cast<int>(patience)) != 1) give_up("was silent for too long");
  char bytes[4096];
  const ssize_t got = read(from_victim_, bytes, sizeof(bytes));
  if (got <= 0) return false;
  pending_.append(bytes, static_cast<std::size_t>(got));
  return true;
}

std::string Preloaded::read_line() {
  std::size_t end;
  while ((end = pending_.find('\n')) == std::string::npos) {
    if (!fill()) give_up("ended before it wrote a line");
  }
  std::string line = pending_.substr(0, end);
  pending_.erase(0, end + 1);
  return line;
}

void Preloaded::tell(const std::string& line) {
  const std::string text = line + "\n";
  if (write(to_victim_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    give_up("does not listen");
  }
}

void Preloaded::kill(int signal) const {
  if (::kill(pid_, signal) != 0) throw std::runtime_error("kill");
}

std::string Preloaded::errors() const { return read_file(errors_.path() / "stderr"); }

Ending Preloaded::finish() {
  close(to_victim_);
  to_victim_ = -1;
  while (fill()) {
  }
  close(from_victim_);
  from_victim_ = -1;

  // It may have closed its output long before it ends.
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  pollfd ended{pidfd, POLLIN, 0};
  const auto patience = std::chrono::milliseconds(kPatience).count();
  const bool gone = poll(&ended, 1, static_cast<int>(patience)) == 1;
  close(pidfd);
  if (!gone) give_up("did not end");
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  Ending ending;
  if (WIFEXITED(status)) ending.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) ending.signal = WTERMSIG(status);
  ending.out = std::move(pending_);
  ending.err = errors();
  return ending;
}

std::vector<fs::path> Preloaded::snapshot_files() const {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(dir_.path())) {
    if (entry.path().extension() == ".snap") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<fs::path> Preloaded::wait_for_snapshots(std::size_t count) const {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    auto files = snapshot_files();
    if (files.size() >= count) return files;
    if (std::chrono::steady_clock::now() > deadline) throw std::runtime_error("no snapshot came");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

Snapshot Preloaded::snapshot(std::size_t index) const { return read_or_fail(snapshot_files().at(index)); }

Snapshot read_or_fail(const fs::path& file) {
  auto read = read_snapshot_file(file);
  if (!read) throw std::runtime_error(file.string() + ": " + read.error().why);
  return std::move(read.value());
}

Ran run_memdiff(const std::vector<std::string>& arguments) {
  std::vector<std::string> words{MEMTRACE_MEMDIFF};
  words.insert(words.end(), arguments.begin(), arguments.end());
  const auto argv = pointers(words);
  const Pipe out;
  const pid_t pid = fork();
  if (pid == 0) {
    if (dup2(out.write, 1) < 0) _exit(126);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(out.write);
  Ran ran;
  char bytes[65536];
  for (ssize_t got; (got = read(out.read, bytes, sizeof(bytes))) > 0;) {
    ran.out.append(bytes, static_cast<std::size_t>(got));
  }
  close(out.read);
  int status = 0;
  waitpid(pid, &status, 0);
  ran.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ran;
}

}  // namespace memtrace::test
