// memdiff: which call sites hold more memory than before.

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <future>
#include <string>
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
  fmt::print(stderr, "memdiff: {}\n", printable(why));
  return code;
}

Surroundings look_around(const Options& options) {
  Surroundings result;
  const bool terminal = options.output.empty() && isatty(STDOUT_FILENO) != 0;
  const char* no_color = std::getenv("NO_COLOR");
  const bool color_unwanted = no_color != nullptr && *no_color != '\0';
  result.color = options.color == ColorWhen::kAlways ||
                 (options.color == ColorWhen::kAuto && terminal && !color_unwanted);
  winsize size{};
  if (terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) result.width = size.ws_col;
  if (options.progress && !options.quiet) result.progress = Progress::Show::kOnTerminal;
  return result;
}

int run(const Options& options) {
  // Before the work rather than after it.
  if (!options.output.empty() && !options.overwrite && access(options.output.c_str(), F_OK) == 0 &&
      options.output.rfind("/dev/", 0) != 0) {
    return fail(exit_code::kUsage, options.output + ": exists already; -f overwrites it");
  }
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
      fmt::print(stderr, "memdiff: warning: {}\n", printable(warning));
  }
  const std::string error = options.output.empty()
                                ? write_stdout(report.value().text)
                                : write_file(options.output, report.value().text,
                                             options.overwrite ? Overwrite::kAllow : Overwrite::kRefuse);
  return error.empty() ? exit_code::kDone : fail(exit_code::kUsage, error);
}

}  // namespace

int main(int argc, char** argv) {
  install_crash_handler("memdiff");
  std::signal(SIGPIPE, SIG_IGN);  // write() says EPIPE instead
  const auto options = parse_options(argc, argv);
  if (const auto* early = std::get_if<EarlyExit>(&options)) {
    fmt::print(early->code == exit_code::kDone ? stdout : stderr, "{}", early->text);
    return early->code;
  }
  return run(std::get<Options>(options));
}
