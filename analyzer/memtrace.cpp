// memtrace: starts programs under the shim and asks running ones for snapshots.
#include <fmt/core.h>
#include <sys/types.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "analyzer/crash.hpp"
#include "analyzer/launch.hpp"
#include "analyzer/process_status.hpp"
#include "analyzer/remote_snapshot.hpp"
#include "analyzer/report/printable.hpp"

namespace {

constexpr int kRefused = 1;
constexpr int kUsage = 2;
constexpr int kTimedOut = 3;

int complain(int status, const std::string& reason) {
  fmt::print(stderr, "memtrace: {}\n", memtrace::printable(reason));
  return status;
}

// An option of `run` and the variable that it sets for the shim.
struct Setting {
  const char* option;
  const char* variable;
  const char* help;
};

constexpr Setting kSettings[] = {
    {"--sample", "MEMTRACE_SAMPLE", "mean bytes between samples (512KiB), or \"all\""},
    {"--dir", "MEMTRACE_DIR", "directory for snapshots (the working directory)"},
    {"--signal", "MEMTRACE_SIGNAL", "signal that asks for a snapshot (SIGUSR2), or \"none\""},
    {"--frames", "MEMTRACE_FRAMES", "frames kept of each stack (64)"},
    {"--unwind", "MEMTRACE_UNWIND", "how stacks are captured: auto, libunwind, fp"},
    {"--mmap", "MEMTRACE_MMAP", "1 or 0: record the program's own mmap (1)"},
    {"--only", "MEMTRACE_ONLY", "trace only executables whose names match these globs"},
    {"--children", "MEMTRACE_CHILDREN", "1 or 0: forked children are traced too (1)"},
    {"--log", "MEMTRACE_LOG", "messages on stderr: error, warn, info (warn)"},
    {"--tags", "MEMTRACE_TAGS", "k=v,k=v: copied into every snapshot"},
};

struct RunOptions {
  std::vector<std::pair<const Setting*, std::string>> settings;
  bool at_exit = false;
};

int run(const RunOptions& options, const std::vector<std::string>& command) {
  if (command.empty())
    return complain(kUsage, "which program? usage: memtrace run [options] -- PROGRAM [ARGUMENTS]");
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
  fmt::print("{}\n", std::get<std::filesystem::path>(taken).string());
  return 0;
}

int parse_and_run(int argc, char** argv) {
  // What follows "--" belongs to the program and is nobody else's to parse.
  const std::vector<std::string> all(argv + 1, argv + argc);
  const auto separator = std::find(all.begin(), all.end(), "--");
  const std::vector<std::string> command(separator == all.end() ? separator : separator + 1, all.end());
  std::vector<std::string> own(all.begin(), separator);
  std::reverse(own.begin(), own.end());  // the order that CLI11 takes a vector in

  CLI::App app{"Traces the heap of native programs: see also memdiff.", "memtrace"};
  app.set_version_flag("-V,--version", "memtrace " MEMTRACE_VERSION);
  app.require_subcommand(1);

  RunOptions run_options;
  CLI::App* run_command = app.add_subcommand(
      "run", "start a program under the shim:  memtrace run [options] -- PROGRAM [ARGUMENTS]");
  for (const Setting& setting : kSettings) {
    CLI::Option* option = run_command->add_option_function<std::string>(
        setting.option, [&](const std::string& given) { run_options.settings.emplace_back(&setting, given); },
        setting.help);
    const std::string name = setting.option;
    if (name == "--mmap" || name == "--children") option->check(CLI::IsMember({"0", "1"}));
    if (name == "--unwind") option->check(CLI::IsMember({"auto", "libunwind", "fp"}));
    if (name == "--log") option->check(CLI::IsMember({"error", "warn", "info"}));
  }
  run_command->add_flag("--at-exit", run_options.at_exit, "also take a snapshot when the program exits");

  memtrace::SnapshotRequest request;
  double timeout_seconds = 30;
  CLI::App* snap_command = app.add_subcommand("snap", "ask a process for a snapshot and print its path");
  snap_command->add_option("pid", request.pid, "the process")->required()->check(CLI::PositiveNumber);
  snap_command->add_option("--label", request.label, "becomes part of the file's name (A-Z a-z 0-9 . _ -)");
  snap_command->add_option("--timeout", timeout_seconds, "seconds to wait for the file (30)")
      ->check(CLI::Range(0.0, 86400.0));
  snap_command->add_option("--dir", request.hints.directory,
                           "where its snapshots go, if its environment does not tell (MEMTRACE_DIR)");
  std::string signal_name;
  snap_command->add_option("--signal", signal_name,
                           "its trigger signal, if its environment does not tell (MEMTRACE_SIGNAL)");
  snap_command->footer(
      "Exit status: 0 done, 1 refused (the process was not signalled), 2 usage, 3 no snapshot came in time.");

  try {
    app.parse(own);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
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
