#include <fmt/format.h>

#include <array>
#include <cmath>

#include "analyzer/report/printable.hpp"
#include "analyzer/report/report.hpp"

namespace memtrace {
namespace {

enum class Sign { kMinusOnly, kAlways };

// The output of CPython's tracemalloc._format_size: the unit grows at 10 * 1024, one decimal below 100 of a
// unit.
std::string size_as_python(double size, Sign sign) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  while (unit + 1 < kUnits.size() && std::abs(size) >= 10 * 1024) {
    size /= 1024;
    ++unit;
  }
  const int decimals = unit > 0 && std::abs(size) < 100 ? 1 : 0;
  return sign == Sign::kAlways ? fmt::format("{:+.{}f} {}", size, decimals, kUnits[unit])
                               : fmt::format("{:.{}f} {}", size, decimals, kUnits[unit]);
}

std::string key_as_python(const ReportInput& input, const CallSite& site) {
  const KeyTable& keys = input.growth->call_sites.keys;
  const SourceLine oldest = keys.lines(site.key).front();
  return fmt::format("{}:{}", printable(keys.text(oldest.file)), oldest.line);
}

}  // namespace

std::string tracemalloc_report(const ReportInput& input, const ReportStyle& style) {
  std::string out;
  std::size_t rows = 0;
  for (const auto site : input.growth->ranked) {
    if (style.top != 0 && rows++ == style.top) break;
    const CallSite& call_site = input.growth->call_sites.sites[site];
    const Figures size = bytes_of(call_site.tallies);
    const Figures count = counts_of(call_site.tallies);
    const auto bytes = static_cast<double>(size.current);
    out +=
        fmt::format("{}: size={}", key_as_python(input, call_site), size_as_python(bytes, Sign::kMinusOnly));
    if (input.old == nullptr) {
      out += fmt::format(", count={}", count.current);
    } else {
      out +=
          fmt::format(" ({}), count={} ({:+})", size_as_python(static_cast<double>(size.diff), Sign::kAlways),
                      count.current, count.diff);
    }
    if (count.current != 0) {
      const double average = bytes / static_cast<double>(count.current);
      out += fmt::format(", average={}", size_as_python(average, Sign::kMinusOnly));
    }
    out += '\n';
  }
  return out;
}

}  // namespace memtrace
