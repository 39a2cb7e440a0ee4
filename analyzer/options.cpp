#include "analyzer/options.hpp"

#include <CLI/CLI.hpp>
#include <map>
#include <sstream>

#include "analyzer/arguments.hpp"
#include "analyzer/exit_codes.hpp"

namespace memtrace {
namespace {

const std::map<std::string, GroupBy> kGroupKeys = {
    {"traceback", GroupBy::kTraceback}, {"lineno", GroupBy::kLineno}, {"filename", GroupBy::kFilename},
    {"function", GroupBy::kFunction},   {"module", GroupBy::kModule}, {"thread", GroupBy::kThread}};
const std::map<std::string, SortKey> kSortKeys = {{"growth", SortKey::kGrowth},
                                                  {"count", SortKey::kCount},
                                                  {"size", SortKey::kSize},
                                                  {"abs", SortKey::kAbs},
                                                  {"lower", SortKey::kLower}};
const std::map<std::string, OutputFormat> kFormats = {{"text", OutputFormat::kText},
                                                      {"tracemalloc", OutputFormat::kTracemalloc},
                                                      {"json", OutputFormat::kJson}};
const std::map<std::string, ColorWhen> kColors = {
    {"auto", ColorWhen::kAuto}, {"always", ColorWhen::kAlways}, {"never", ColorWhen::kNever}};

constexpr const char* kFooter =
    "One snapshot alone shows what is live; two show growth. Exit status: 0 done, 2 usage or unreadable "
    "input,\n"
    "3 a fault of memdiff itself.";

// An option with a fixed set of words; the error lists them in the order given here.
template <class Enum>
CLI::Option* add_choice(CLI::App& app, const std::string& flags, Enum& into,
                        const std::map<std::string, Enum>& words, const std::string& help,
                        const std::string& listed) {
  const std::string name = flags.substr(flags.find("--"));
  const auto apply = [&into, &words, listed, name](const std::string& text) {
    const auto found = words.find(text);
    if (found == words.end()) throw CLI::ValidationError(name, "'" + text + "' is not one of " + listed);
    into = found->second;
  };
  return app.add_option_function<std::string>(flags, apply, help + ": " + listed)->type_name("WORD");
}

// Counts that may be "all of them".
CLI::Option* add_count(CLI::App& app, const std::string& flags, std::size_t& into, const std::string& help) {
  const std::string name = flags.substr(flags.find("--"));
  const auto apply = [&into, name](const std::string& text) {
    into = parse_number(name, text, 0, SIZE_MAX, "a whole number (0: all)");
  };
  return app.add_option_function<std::string>(flags, apply, help)->type_name("N");
}

std::uint64_t parse_size(const std::string& option, const std::string& text) {
  constexpr std::uint64_t kLargest = std::uint64_t{1} << 62;
  const std::map<std::string, int> units = {{"", 0},     {"B", 0},  {"K", 10},   {"KiB", 10}, {"M", 20},
                                            {"MiB", 20}, {"G", 30}, {"GiB", 30}, {"T", 40},   {"TiB", 40}};
  const auto digits = text.find_first_not_of("0123456789");
  const auto unit = units.find(digits == std::string::npos ? "" : text.substr(digits));
  const std::string number = text.substr(0, digits);
  if (number.empty() || number.size() > 18 || unit == units.end()) {
    throw CLI::ValidationError(option, "'" + text + "' is not a size such as 4096, 64KiB or 1MiB");
  }
  const std::uint64_t value = std::stoull(number);
  if (value > kLargest >> unit->second) throw CLI::ValidationError(option, "'" + text + "' is too large");
  return value << unit->second;
}

void declare(CLI::App& app, Options& o) {
  app.add_option("SNAPSHOT", o.files, "OLD NEW, or one snapshot")->type_name("FILE");
  app.set_help_flag("-h,--help", "This text");
  app.set_version_flag("-V,--version", "memdiff " MEMTRACE_VERSION, "The version");
  app.footer(kFooter);
  app.get_formatter()->column_width(34);
  app.option_defaults()->take_last();  // an alias or a script may have set it before

  const char* which = "Which call sites";
  add_choice(app, "-g,--group-by", o.group_by, kGroupKeys, "What makes a row",
             "traceback, lineno, filename, function, module, thread")
      ->group(which);
  app.add_flag("--cumulative", o.cumulative, "Every frame of a stack gets its weight, once per stack")
      ->group(which);
  app.add_flag_callback(
         "--no-skip-wrappers", [&o] { o.skip_wrappers = false; },
         "Name call sites after malloc, operator new and library containers too")
      ->group(which);
  app.add_option("--focus", o.focus, "Only stacks with a frame that matches (POSIX extended)")
      ->type_name("RE")
      ->allow_extra_args(false)
      ->group(which);
  app.add_option("--ignore", o.ignore, "No stacks with a frame that matches")
      ->type_name("RE")
      ->allow_extra_args(false)
      ->group(which);
  app.add_option_function<std::string>(
         "--min", [&o](const std::string& t) { o.min_bytes = parse_size("--min", t); },
         "Drop rows that changed by less")
      ->type_name("SIZE")
      ->group(which);
  app.add_flag("--growth-only", o.growth_only, "Drop rows that did not grow")->group(which);

  const char* shape = "Output";
  add_count(app, "-n,--top", o.top, "Rows; 0: all [10]")->group(shape);
  add_choice(app, "-s,--sort", o.sort, kSortKeys, "Order", "growth, count, size, abs, lower")->group(shape);
  add_count(app, "--frames", o.frames, "Stack lines under a row; 0: all [12]")->group(shape);
  add_choice(app, "-F,--format", o.format, kFormats, "Form", "text, tracemalloc, json")->group(shape);
  app.add_option_function<std::string>(
         "-o,--output",
         [&o](const std::string& t) {
           if (t.empty()) throw CLI::ValidationError("--output", "the file's name is empty");
           o.output = t;
         },
         "Write there instead of stdout")
      ->type_name("FILE")
      ->group(shape);
  app.add_flag("-f,--force", o.overwrite, "Let -o overwrite")->group(shape);
  add_choice(app, "--color", o.color, kColors, "Colour", "auto, always, never")->group(shape);
  app.add_flag_callback(
         "--no-progress", [&o] { o.progress = false; }, "No progress bar")
      ->group(shape);
  app.add_flag("-q,--quiet", o.quiet, "Rows alone: no head, foot, warnings, progress")->group(shape);
  app.add_flag("-v,--verbose", o.verbose, "All library frames, all notes about symbols")->group(shape);

  const char* symbols = "Symbols";
  app.add_option("--sysroot", o.sysroot, "Tree to look for modules in")->type_name("DIR")->group(symbols);
  app.add_option("--debug-path", o.debug_paths, "More debug files (.build-id trees)")
      ->type_name("DIR")
      ->allow_extra_args(false)
      ->group(symbols);
  app.add_flag_callback(
         "--no-debuginfod", [&o] { o.debuginfod = false; }, "Never ask debuginfod servers")
      ->group(symbols);
}

// What no single option can tell.
std::string contradiction(const Options& o) {
  if (o.files.empty()) return "no snapshot given; usage: memdiff OLD NEW, or memdiff SNAPSHOT";
  for (const auto& file : o.files) {
    if (file.empty()) return "the name of a snapshot is empty; usage: memdiff OLD NEW, or memdiff SNAPSHOT";
  }
  if (o.files.size() > 2) return "more than two snapshots given; a series is compared two at a time";
  if (o.cumulative && (o.group_by == GroupBy::kTraceback || o.group_by == GroupBy::kThread)) {
    return "--cumulative needs -g lineno, filename, function or module: a frame alone must make a key";
  }
  if (o.overwrite && o.output.empty()) return "-f has no meaning without -o FILE";
  return "";
}

EarlyExit usage_error(const std::string& why) {
  return {exit_code::kUsage, "memdiff: " + why + "\nmemdiff --help lists the options.\n"};
}

}  // namespace

std::variant<Options, EarlyExit> parse_options(int argc, const char* const* argv) {
  Options options;
  CLI::App app("Which call sites of a program hold more memory than before.", "memdiff");
  declare(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
      std::ostringstream out;
      std::ostringstream err;
      app.exit(error, out, err);
      return EarlyExit{exit_code::kDone, out.str()};
    }
    return usage_error(describe(error, app));
  }
  const std::string why = contradiction(options);
  if (!why.empty()) return usage_error(why);
  return options;
}

}  // namespace memtrace
