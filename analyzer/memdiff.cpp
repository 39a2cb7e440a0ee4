// memdiff: which call sites hold more memory than before.

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "analyzer/crash.hpp"
#include "analyzer/exit_codes.hpp"
#include "analyzer/options.hpp"
#include "analyzer/output.hpp"
#include "analyzer/pipeline.hpp"
#include "analyzer/report/printable.hpp"
#include "analyzer/symbols/elf_symbolizer.hpp"
#include "format/snapshot_reader.hpp"

namespace {

using namespace memtrace;

int fail(int code, const std::string& why) {
  write_stderr(fmt::format("memdiff: {}\n", printable(why)));
  return code;
}

bool can_show_colour() {
  const char* no_color = std::getenv("NO_COLOR");
  if (no_color != nullptr && *no_color != '\0') return false;
  const char* terminal = std::getenv("TERM");
  return terminal != nullptr && *terminal != '\0' && std::string_view(terminal) != "dumb";
}

Surroundings look_around(const Options& options) {
  Surroundings result;
  const bool terminal = options.output.empty() && isatty(STDOUT_FILENO) != 0;
  result.color = options.color == ColorWhen::kAlways ||
                 (options.color == ColorWhen::kAuto && terminal && can_show_colour());
  winsize size{};
  if (terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) result.width = size.ws_col;
  if (options.progress && !options.quiet) result.progress = Progress::Show::kOnTerminal;
  return result;
}

// What can be said about the paths on the command line before any work is done; empty: nothing is wrong.
std::string problem_with_paths(const Options& options) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!options.output.empty() && options.output.rfind("/dev/", 0) != 0 && fs::exists(options.output, error)) {
    if (!options.overwrite) return options.output + ": exists already; -f overwrites it";
    for (const auto& file : options.files) {
      if (fs::equivalent(options.output, file, error))
        return options.output + ": is one of the snapshots; choose another place with -o FILE";
    }
  }
  if (!options.sysroot.empty() && !fs::is_directory(options.sysroot, error))
    return "--sysroot " + options.sysroot + ": no such directory";
  for (const auto& directory : options.debug_paths) {
    if (!fs::is_directory(directory, error) && !fs::is_directory(options.sysroot + "/" + directory, error))
      return "--debug-path " + directory + ": no such directory";
  }
  return "";
}

int run(const Options& options) {
  if (const auto problem = problem_with_paths(options); !problem.empty())
    return fail(exit_code::kUsage, problem);
  std::vector<std::future<Result<Snapshot, FormatError>>> reading;
  for (const auto& file : options.files) {
    reading.push_back(std::async([&file] { return read_snapshot_file(file); }));
  }
  std::vector<NamedSnapshot> snapshots;
  for (std::size_t i = 0; i < reading.size(); ++i) {
    auto snapshot = reading[i].get();
    if (!snapshot)
      return fail(exit_code::kUsage, fmt::format("{}: {}", options.files[i], snapshot.error().why));
    snapshots.push_back({options.files[i], std::move(snapshot).value()});
  }
  const auto symbolizer = make_elf_symbolizer({options.sysroot, options.debug_paths, options.debuginfod});
  const auto report = make_report(snapshots, options, *symbolizer, look_around(options));
  if (!report) return fail(exit_code::kUsage, report.error());
  if (!options.quiet && options.format != OutputFormat::kText) {
    for (const auto& warning : report.value().warnings)
      write_stderr(fmt::format("memdiff: warning: {}\n", printable(warning)));
  }
  std::string error = options.output.empty()
                          ? write_stdout(report.value().text)
                          : write_file(options.output, report.value().text,
                                       options.overwrite ? Overwrite::kAllow : Overwrite::kRefuse);
  if (error.empty()) return exit_code::kDone;
  if (error.find("-f overwrites") == std::string::npos) error += "; choose another place with -o FILE";
  return fail(exit_code::kUsage, error);
}

}  // namespace

int main(int argc, char** argv) {
  install_crash_handler("memdiff");
  std::signal(SIGPIPE, SIG_IGN);  // write() says EPIPE instead
  std::signal(SIGXFSZ, SIG_IGN);  // EFBIG, under ulimit -f
  const auto options = parse_options(argc, argv);
  if (const auto* early = std::get_if<EarlyExit>(&options)) {
    if (early->code != exit_code::kDone) {
      write_stderr(early->text);
      return early->code;
    }
    const std::string error = write_stdout(early->text);
    return error.empty() ? exit_code::kDone : fail(exit_code::kUsage, error);
  }
  return run(std::get<Options>(options));
}
