// memtrace: starts programs under the shim and asks running ones for snapshots.
#include <fmt/format.h>
#include <sys/types.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "analyzer/arguments.hpp"
#include "analyzer/crash.hpp"
#include "analyzer/launch.hpp"
#include "analyzer/output.hpp"
#include "analyzer/process_status.hpp"
#include "analyzer/remote_snapshot.hpp"
#include "analyzer/report/printable.hpp"

namespace {

constexpr int kRefused = 1;
constexpr int kUsage = 2;
constexpr int kTimedOut = 3;
constexpr double kLongestTimeout = 86400;

int complain(int status, const std::string& reason) {
  memtrace::write_stderr(fmt::format("memtrace: {}\n", memtrace::printable(reason)));
  return status;
}

// An option of `run` and the variable that it sets for the shim.
struct Setting {
  const char* option;
  const char* variable;
  const char* value;  // what it takes, for the help
  const char* help;
  std::array<const char*, 5> words{};  // all that it takes, which the help adds; none: anything
};

constexpr Setting kSettings[] = {
    {"--sample", "MEMTRACE_SAMPLE", "SIZE", "mean bytes between samples (512KiB), or \"all\""},
    {"--dir", "MEMTRACE_DIR", "DIR", "directory for snapshots (the working directory)"},
    {"--signal", "MEMTRACE_SIGNAL", "SIG", "signal that asks for a snapshot (SIGUSR2), or \"none\""},
    {"--frames", "MEMTRACE_FRAMES", "N", "frames kept of each stack (64)"},
    {"--unwind",
     "MEMTRACE_UNWIND",
     "WORD",
     "how stacks are captured (auto)",
     {"auto", "cfi", "fp", "libunwind", "boost"}},
    {"--mmap", "MEMTRACE_MMAP", "N", "record the program's own mmap (1)", {"0", "1"}},
    {"--only", "MEMTRACE_ONLY", "GLOBS", "trace only executables whose names match these globs"},
    {"--children", "MEMTRACE_CHILDREN", "N", "trace forked children too (1)", {"0", "1"}},
    {"--log", "MEMTRACE_LOG", "WORD", "messages on stderr (warn)", {"error", "warn", "info"}},
    {"--tags", "MEMTRACE_TAGS", "K=V", "k=v,k=v: copied into every snapshot"},
};

struct RunOptions {
  std::vector<std::pair<const Setting*, std::string>> settings;
  bool at_exit = false;
};

// The shim makes the directory, but not its parents; it can say so only when the first snapshot fails.
std::string problem_with_directory(const std::string& given) {
  namespace fs = std::filesystem;
  if (given.empty()) return "";
  std::error_code error;
  const fs::path directory = fs::absolute(given, error);
  if (fs::is_directory(directory, error)) return "";
  if (fs::exists(directory, error)) return fmt::format("--dir {}: is not a directory", given);
  const fs::path parent = (directory / ".").lexically_normal().parent_path().parent_path();
  if (fs::is_directory(parent, error)) return "";
  return fmt::format("--dir {}: {} does not exist; make it first", given, parent.string());
}

int run(const RunOptions& options, const std::vector<std::string>& command) {
  if (command.empty())
    return complain(kUsage, "which program? usage: memtrace run [options] -- PROGRAM [ARGUMENTS]");
  for (const auto& [setting, given] : options.settings) {
    if (setting->option != std::string_view("--dir")) continue;
    if (const auto problem = problem_with_directory(given); !problem.empty())
      return complain(kUsage, problem);
  }
  std::error_code error;
  const auto own_executable = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto shim = memtrace::find_shim(own_executable);
  if (!shim)
    return complain(kUsage,
                    fmt::format("libmemtrace.so was not found beside {} (../lib, ../preload, same directory)",
                                own_executable.string()));
  if (const auto problem = memtrace::preload_problem(*shim)) return complain(kUsage, *problem);
  const char* path = std::getenv("PATH");
  const auto program = memtrace::search_program(command[0], path != nullptr ? path : "/bin:/usr/bin");
  if (!program.empty()) {
    if (const auto problem = memtrace::trace_problem(program, *shim)) return complain(kUsage, *problem);
  }

  for (const auto& [setting, given] : options.settings) setenv(setting->variable, given.c_str(), 1);
  if (options.at_exit) setenv("MEMTRACE_AT_EXIT", "1", 1);
  const char* present = std::getenv("LD_PRELOAD");
  setenv("LD_PRELOAD", memtrace::preload_with(*shim, present != nullptr ? present : "").c_str(), 1);
  return memtrace::replace_process(command);
}

int snap(const memtrace::SnapshotRequest& request) {
  const auto taken = memtrace::take_remote_snapshot(request);
  if (const auto* failure = std::get_if<memtrace::SnapshotFailure>(&taken)) {
    const bool refused = failure->kind == memtrace::SnapshotFailure::Kind::kRefused;
    return complain(refused ? kRefused : kTimedOut, failure->reason);
  }
  const auto path = std::get<std::filesystem::path>(taken).string();
  // Its directory is the process's choice: a script needs it as it is, a terminal must not obey it.
  const std::string shown = isatty(STDOUT_FILENO) != 0 ? memtrace::printable(path) : path;
  const std::string error = memtrace::write_stdout(shown + "\n");
  return error.empty() ? 0 : complain(kUsage, fmt::format("{} was taken, but {}", path, error));
}

// What CLI11 says of a command line that it cannot parse, in our words.
int explain(const CLI::ParseError& error, const CLI::App& app, const CLI::App& run_command) {
  if (error.get_exit_code() == 0) {  // help and version
    std::ostringstream out;
    app.exit(error, out, out);
    const std::string failure = memtrace::write_stdout(out.str());
    return failure.empty() ? 0 : complain(kUsage, failure);
  }
  const bool extra = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
  const auto unknown = app.remaining(true);
  std::string why = memtrace::describe(error, app);
  if (app.get_subcommands().empty()) {
    why = "which command? run or snap";
    if (!unknown.empty())
      why = unknown[0].starts_with('-') ? "no such option: " + unknown[0]
                                        : unknown[0] + ": no such command; expected run or snap";
  } else if (extra && run_command.parsed() && !unknown.empty() && !unknown[0].starts_with('-')) {
    why = fmt::format("-- must stand before the program: memtrace run [options] -- {}", unknown[0]);
  }
  return complain(kUsage, why + "; memtrace --help tells more");
}

int parse_and_run(int argc, char** argv) {
  // What follows "--" belongs to the program and is nobody else's to parse.
  const std::vector<std::string> all(argv + 1, argv + argc);
  const auto separator = std::find(all.begin(), all.end(), "--");
  const std::vector<std::string> command(separator == all.end() ? separator : separator + 1, all.end());
  std::vector<std::string> own(all.begin(), separator);
  std::reverse(own.begin(), own.end());  // the order that CLI11 takes a vector in

  CLI::App app{"Traces the heap of native programs: see also memdiff.", "memtrace"};
  app.option_defaults()->take_last();
  app.set_version_flag("-V,--version", "memtrace " MEMTRACE_VERSION);
  app.require_subcommand(1);

  RunOptions run_options;
  CLI::App* run_command = app.add_subcommand(
      "run", "start a program under the shim:  memtrace run [options] -- PROGRAM [ARGUMENTS]");
  for (const Setting& setting : kSettings) {
    CLI::Option* option = run_command->add_option_function<std::string>(
        setting.option, [&](const std::string& given) { run_options.settings.emplace_back(&setting, given); },
        setting.help);
    option->type_name(setting.value);
    const std::vector<std::string> words(setting.words.begin(), std::ranges::find(setting.words, nullptr));
    if (!words.empty()) option->check(CLI::IsMember(words));
  }
  run_command->add_flag("--at-exit", run_options.at_exit, "also take a snapshot when the program exits");

  memtrace::SnapshotRequest request;
  double timeout_seconds = 30;
  CLI::App* snap_command = app.add_subcommand("snap", "ask a process for a snapshot and print its path");
  const auto set_pid = [&](const std::string& given) {
    constexpr std::uint64_t kMost = std::numeric_limits<pid_t>::max();
    request.pid =
        static_cast<pid_t>(memtrace::parse_number("snap", given, 1, kMost, "the number of a process"));
  };
  snap_command->add_option_function<std::string>("pid", set_pid, "the process")->required()->type_name("PID");
  snap_command->add_option("--label", request.label, "becomes part of the file's name (A-Z a-z 0-9 . _ -)")
      ->type_name("L");
  const auto set_timeout = [&](const std::string& given) {
    char* end = nullptr;
    timeout_seconds = std::strtod(given.c_str(), &end);
    // Not a number is neither.
    if (given.empty() || *end != '\0' || !(timeout_seconds >= 0 && timeout_seconds <= kLongestTimeout))
      throw CLI::ValidationError("--timeout", "'" + given + "' is not a number of seconds from 0 to 86400");
  };
  snap_command
      ->add_option_function<std::string>("--timeout", set_timeout, "seconds to wait for the file (30)")
      ->type_name("SECONDS");
  snap_command
      ->add_option("--dir", request.hints.directory,
                   "where its snapshots go, if its environment does not tell (MEMTRACE_DIR)")
      ->type_name("DIR");
  std::string signal_name;
  snap_command
      ->add_option("--signal", signal_name,
                   "its trigger signal, if its environment does not tell (MEMTRACE_SIGNAL)")
      ->type_name("SIG");
  snap_command->footer(
      "Exit status: 0 done, 1 refused (the process was not signalled), 2 usage, 3 no snapshot came in time.");

  try {
    app.parse(own);
  } catch (const CLI::ParseError& error) {
    return explain(error, app, *run_command);
  }
  if (run_command->parsed()) return run(run_options, command);
  if (!command.empty()) return complain(kUsage, "snap takes nothing after --");
  if (!request.label.empty() && !memtrace::is_valid_label(request.label))
    return complain(kUsage, "a label is up to 64 of A-Z a-z 0-9 . _ -");
  if (!signal_name.empty()) {
    request.hints.signal_number = memtrace::parse_trigger_signal(signal_name);
    if (request.hints.signal_number.value_or(0) == 0)
      return complain(kUsage,
                      fmt::format("--signal {}: expected SIGUSR1, SIGUSR2 or SIGRTMIN+N", signal_name));
  }
  request.timeout = std::chrono::milliseconds(static_cast<long>(timeout_seconds * 1000));
  return snap(request);
}

}  // namespace

int main(int argc, char** argv) {
  memtrace::install_crash_handler("memtrace");
  try {
    return parse_and_run(argc, argv);
  } catch (const std::exception& error) {
    return complain(kTimedOut, error.what());
  }
}
