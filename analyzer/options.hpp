// memdiff's command line.
//
// Parsing touches no file: a mistyped option is never reported as a missing file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "analyzer/call_sites.hpp"
#include "analyzer/diff.hpp"

namespace memtrace {

enum class OutputFormat { kText, kTracemalloc, kJson };
enum class ColorWhen { kAuto, kAlways, kNever };

struct Options {
  std::vector<std::string> files;  // one or two
  GroupBy group_by = GroupBy::kTraceback;
  bool cumulative = false;
  bool skip_wrappers = true;
  std::vector<std::string> focus;
  std::vector<std::string> ignore;

  SortKey sort = SortKey::kGrowth;
  std::uint64_t min_bytes = 0;
  bool growth_only = false;

  OutputFormat format = OutputFormat::kText;
  std::size_t top = 10;     // 0: all
  std::size_t frames = 12;  // 0: all
  ColorWhen color = ColorWhen::kAuto;
  std::string output;  // empty: stdout
  bool overwrite = false;

  std::string sysroot;
  std::vector<std::string> debug_paths;
  bool debuginfod = true;
  bool progress = true;
  bool quiet = false;
  bool verbose = false;
};

// Parsing is all there is to do: print `text` (help and version to stdout, errors to stderr) and exit.
struct EarlyExit {
  int code = 0;
  std::string text;
};

[[nodiscard]] std::variant<Options, EarlyExit> parse_options(int argc, const char* const* argv);

}  // namespace memtrace
