#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "analyzer/report/printable.hpp"
#include "analyzer/report/report.hpp"
#include "analyzer/units.hpp"
#include "analyzer/wrappers.hpp"

namespace memtrace {
namespace {

constexpr std::size_t kLeadingWrappers = 2;  // shown before the naming frame; -v shows all

enum class Paint { kNone, kBold, kDim, kGrowth, kShrink };

class TextReport {
 public:
  TextReport(const ReportInput& input, const ReportStyle& style)
      : in_(input), style_(style), growth_(*input.growth), single_(input.old == nullptr) {}

  std::string build() {
    if (!style_.quiet) head();
    rows();
    if (!style_.quiet) foot();
    return std::move(out_);
  }

 private:
  [[nodiscard]] std::string painted(const std::string& text, Paint paint) const {
    if (!style_.color || paint == Paint::kNone) return text;
    const char* code = paint == Paint::kBold     ? "1"
                       : paint == Paint::kDim    ? "2"
                       : paint == Paint::kGrowth ? "31"
                                                 : "32";
    return fmt::format("\033[{}m{}\033[0m", code, text);
  }
  // "~" before estimates; nothing before what is known.
  [[nodiscard]] const char* mark(const Tally& tally) const { return tally.sampled > 0 ? "~" : ""; }
  [[nodiscard]] const char* mark(const Tallies& t) const {
    return t.old.sampled + t.current.sampled > 0 ? "~" : "";
  }

  void head();
  void head_line(const char* name, const std::string& file, const Snapshot& snapshot, const Tally& live);
  void distance();
  void unexplained_memory();
  void rows();
  void row(std::size_t rank, std::uint32_t site);
  void figures(const Tallies& tallies);
  void stack(const Row& row);
  void frame(const Frame& frame, bool names_site);
  void foot();
  [[nodiscard]] std::string fitted(const std::string& function, std::size_t used) const;

  const ReportInput& in_;
  const ReportStyle& style_;
  const Growth& growth_;
  bool single_;
  bool doubtful_rows_ = false;
  double grown_bytes_ = 0;  // what shares are shares of
  std::string out_;
};

std::string process_text(const Snapshot& snapshot) {
  std::string text =
      fmt::format("{}, pid {}", snapshot.exe.empty() ? "[unknown]" : base_name(snapshot.exe), snapshot.pid);
  if (!snapshot.host.empty()) text += " on " + snapshot.host;
  return printable(text);
}

std::string sampling_text(const Snapshot& snapshot) {
  if (snapshot.mode == SamplingMode::kAll) return "every allocation recorded";
  return fmt::format("one sample every {} on average, ~ marks an estimate",
                     size_text(static_cast<double>(snapshot.interval_bytes)));
}

std::string phrase(VerdictWord verdict) {
  switch (verdict) {
    case VerdictWord::kLeak:
      return "consistent with a leak";
    case VerdictWord::kSaturating:
      return "consistent with a saturating cache";
    case VerdictWord::kFlat:
      return "consistent with flat memory";
    case VerdictWord::kShrink:
      return "consistent with a shrink";
    case VerdictWord::kUnknown:
      return "unknown";
    default:
      return "consistent with " + std::string(word(verdict));
  }
}

// The one type that makes every other name unreadable.
std::string readable(std::string function) {
  const std::string_view kLong =
      "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >";
  for (auto at = function.find(kLong); at != std::string::npos; at = function.find(kLong, at)) {
    function.replace(at, kLong.size(), "std::string");
  }
  return function;
}

// The nearest function further out that has a name, or empty.
std::string named_caller(const Row& row) {
  for (std::size_t i = row.naming + 1; i < row.frames.size(); ++i) {
    if (std::string function = function_text(row.frames[i]); !function.empty()) return function;
  }
  return "";
}

void TextReport::head_line(const char* name, const std::string& file, const Snapshot& snapshot,
                           const Tally& live) {
  std::string line = fmt::format("  {}  {}", name, printable(file));
  if (!snapshot.label.empty()) line += fmt::format(" [{}]", printable(snapshot.label));
  if (!single_ && !growth_.comparison.same_process) line += fmt::format("  ({})", process_text(snapshot));
  if (snapshot.realtime_ns != 0) line += "  " + utc_text(snapshot.realtime_ns);
  line += fmt::format("  live {0}{1} in {0}{2} blocks", mark(live), size_text(live.bytes),
                      count_text(whole(live.count)));
  if (snapshot.rss_bytes != 0) line += "  RSS " + size_text(static_cast<double>(snapshot.rss_bytes));
  out_ += line + "\n";
}

void TextReport::distance() {
  const Tallies& totals = growth_.comparison.totals;
  const Interval interval = bytes_interval(growth_.comparison, totals);
  std::string line = "  ";
  if (growth_.comparison.same_process) {
    line += fmt::format("{} apart", duration_text(std::max<std::int64_t>(
                                        elapsed_ns(in_.old->monotonic_ns, in_.current->monotonic_ns), 0)));
  } else {
    line += "two processes: nothing cancels";
  }
  line += fmt::format(": live {}{}", mark(totals), signed_size(totals.born.bytes - totals.died.bytes));
  if (*mark(totals) != '\0') {
    line += fmt::format(" (95 %: {} to {})", signed_size(interval.lower), signed_size(interval.upper));
  }
  if (in_.old->rss_bytes != 0 && in_.current->rss_bytes != 0) {
    line += fmt::format(", RSS {}", signed_size(static_cast<double>(in_.current->rss_bytes) -
                                                static_cast<double>(in_.old->rss_bytes)));
  }
  out_ += line + "\n";
}

void TextReport::head() {
  const bool one_process = single_ || growth_.comparison.same_process;
  out_ += painted(one_process ? process_text(*in_.current) : "two processes", Paint::kBold);
  out_ += "; " + sampling_text(*in_.current) + "\n";
  if (single_) {
    head_line("SNAP", in_.current_file, *in_.current, growth_.comparison.totals.current);
  } else {
    head_line("OLD", in_.old_file, *in_.old, growth_.comparison.totals.old);
    head_line("NEW", in_.current_file, *in_.current, growth_.comparison.totals.current);
    distance();
  }
  for (const auto& warning : in_.warnings) out_ += "  warning: " + printable(warning) + "\n";
  if (single_) {
    out_ += fmt::format("\nWhat is live ({})\n", in_.verdict.sentence);
    return;
  }
  out_ += fmt::format("\n{}: {}\n", painted("Verdict: " + phrase(in_.verdict.word), Paint::kBold),
                      in_.verdict.sentence);
}

void TextReport::rows() {
  for (const auto& site : growth_.call_sites.sites)
    grown_bytes_ += std::max(0.0, site.tallies.born.bytes - site.tallies.died.bytes);
  if (in_.grouping.cumulative)
    grown_bytes_ = std::max(0.0, growth_.totals.born.bytes - growth_.totals.died.bytes);
  std::size_t shown = 0;
  std::size_t left = 0;
  std::size_t unchanged = 0;
  for (const auto site : growth_.ranked) {
    const Tallies& t = growth_.call_sites.sites[site].tallies;
    const bool changed = t.born.samples + t.died.samples > 0 || t.born.bytes != t.died.bytes;
    if (!changed) {
      ++unchanged;
    } else if (style_.top != 0 && shown == style_.top) {
      ++left;
    } else {
      row(++shown, site);
    }
  }
  if (style_.quiet) return;
  out_ += "\n";
  if (shown == 0) out_ += single_ ? "No call sites to show.\n" : "No call site changed.\n";
  if (left > 0) out_ += fmt::format("{} more call site{}: -n 0 shows all.\n", left, left == 1 ? "" : "s");
  if (unchanged > 0)
    out_ += fmt::format("{} call site{} did not change.\n", unchanged, unchanged == 1 ? "" : "s");
}

void TextReport::row(std::size_t rank, std::uint32_t site) {
  const Row row = make_row(in_, site);
  const Tallies& tallies = row.site->tallies;
  const bool grew = tallies.born.bytes >= tallies.died.bytes;
  const std::string title = printable(row.key);
  if (!out_.empty()) out_ += "\n";
  out_ += fmt::format("#{}  {}", rank, painted(title, Paint::kBold));
  if (!row.function.empty() && row.key != row.function && in_.grouping.by != GroupBy::kModule) {
    out_ += "  " + fitted(readable(row.function), title.size() + 6);
  }
  if (row.function.empty() &&
      (in_.grouping.by == GroupBy::kTraceback || in_.grouping.by == GroupBy::kLineno)) {
    const std::string caller = named_caller(row);
    if (!caller.empty())
      out_ += fmt::format("  (called from {})", fitted(readable(caller), title.size() + 20));
  }
  if (in_.grouping.by == GroupBy::kFunction && !row.frames.empty() && row.frames[row.naming].has_line()) {
    out_ += "  " + printable(line_text(row.frames[row.naming]));
  }
  out_ += "\n    ";
  const std::size_t before = out_.size();
  figures(tallies);
  if (!single_ && style_.color) {
    const std::string line = out_.substr(before);
    out_.resize(before);
    out_ += painted(line, grew ? Paint::kGrowth : Paint::kShrink);
  }
  out_ += "\n";
  stack(row);
}

void TextReport::figures(const Tallies& t) {
  const char* approx = mark(t);
  const double diff = t.born.bytes - t.died.bytes;
  const Interval bytes = bytes_interval(growth_.comparison, t);
  const bool estimated = *approx != '\0';
  const bool doubtful = estimated && (bytes.upper - bytes.lower) / 2 > std::abs(diff);
  doubtful_rows_ = doubtful_rows_ || doubtful;
  const auto size = [&](double x) { return single_ ? size_text(x) : signed_size(x); };
  const auto count = [&](double x) { return single_ ? count_text(whole(x)) : signed_count(whole(x)); };

  out_ += fmt::format("{}{}", approx, size(diff));
  if (doubtful) out_ += " ?";
  if (estimated) out_ += fmt::format(" (95 %: {} to {})", size(bytes.lower), size(bytes.upper));
  const double blocks = t.born.count - t.died.count;
  out_ += fmt::format("  {}{} block{}", approx, count(blocks), whole(std::abs(blocks)) == 1 ? "" : "s");
  if (estimated) {
    const Interval counts = count_interval(growth_.comparison, t);
    out_ += fmt::format(" ({} to {})", count(counts.lower), count(counts.upper));
  }
  if (diff > 0 && grown_bytes_ > 0) {
    out_ += fmt::format("  {:.1f} % of {}", 100 * diff / grown_bytes_, single_ ? "live" : "growth");
  }
  if (single_) {
    out_ += fmt::format("  {} sample{}", t.current.samples, t.current.samples == 1 ? "" : "s");
  } else if (!growth_.comparison.same_process) {
    out_ += fmt::format("  samples: {} new, {} old", t.current.samples, t.old.samples);
  } else {
    out_ += fmt::format("  samples: {} born, {} died, {} live", t.born.samples, t.died.samples,
                        t.current.samples);
  }
}

void TextReport::stack(const Row& row) {
  const bool all = style_.verbose || style_.frames == 0;
  const std::size_t first = all || row.naming <= kLeadingWrappers ? 0 : row.naming - kLeadingWrappers;
  std::size_t end = row.frames.size();
  if (!all) {
    // What called main is the same in every program.
    const auto main_frame =
        std::ranges::find_if(row.frames, [](const Frame& f) { return function_text(f) == "main"; });
    if (main_frame != row.frames.end()) end = static_cast<std::size_t>(main_frame - row.frames.begin()) + 1;
    end = std::max(end, row.naming + 1);
  }
  end = std::min(end, row.frames.size());
  if (first > 0) {
    out_ += painted(fmt::format("      ... {} allocator and library frames (-v shows them)\n", first),
                    Paint::kDim);
  }
  const std::size_t shown_end = style_.frames == 0 ? end : std::min(end, first + style_.frames);
  for (std::size_t i = first; i < shown_end; ++i) frame(row.frames[i], i == row.naming);
  if (shown_end < end) {
    out_ += painted(fmt::format("      ... {} more (--frames 0 shows all)\n", end - shown_end), Paint::kDim);
  }
}

void TextReport::frame(const Frame& frame, bool names_site) {
  std::string where = printable(line_text(frame));
  if (frame.source != nullptr && frame.source->inlined) where += " (inlined)";
  const std::string full = function_text(frame);
  const std::string function = frame.wrapper && !style_.verbose ? without_arguments(full) : readable(full);
  const std::string line =
      fmt::format("    {} {}{}", names_site ? ">" : " ",
                  function.empty() ? "" : fitted(function, where.size() + 8) + "  ", where);
  out_ += painted(line, names_site ? Paint::kBold : frame.wrapper ? Paint::kDim : Paint::kNone) + "\n";
}

// The function as far as the terminal's width allows; places are never cut.
std::string TextReport::fitted(const std::string& function, std::size_t used) const {
  constexpr std::size_t kLeast = 24;
  std::string text = printable(function);
  if (style_.width == 0) return text;
  const std::size_t room = std::max(kLeast, style_.width > used ? style_.width - used : 0);
  if (text.size() <= room) return text;
  const std::string name = printable(qualified_name(function));
  text = name.size() < text.size() ? name + "(...)" : name;
  if (text.size() <= room) return text;
  return text.substr(0, room / 2 - 2) + "..." + text.substr(text.size() - (room - room / 2 - 1));
}

// Where everything is recorded, the shim's own tables are part of it.
void TextReport::unexplained_memory() {
  constexpr double kNoteworthy = 1 << 20;
  if (single_ || !growth_.comparison.same_process || in_.current->mode == SamplingMode::kAll) return;
  if (in_.old->rss_bytes == 0 || in_.current->rss_bytes == 0) return;
  const double resident =
      static_cast<double>(in_.current->rss_bytes) - static_cast<double>(in_.old->rss_bytes);
  const double traced = bytes_interval(growth_.comparison, growth_.comparison.totals).upper;
  if (resident < kNoteworthy || resident < 2 * std::max(0.0, traced)) return;
  out_ += fmt::format(
      "RSS grew by {}, more than what is traced can explain: freed memory that the allocator keeps, thread "
      "stacks, or memory that is not traced (see the README, limits).\n",
      size_text(resident));
}

void TextReport::foot() {
  unexplained_memory();
  if (doubtful_rows_) out_ += "?  the interval is wider than the figure: may be chance.\n";
  const Losses losses = losses_of(*in_.current);
  if (losses.lost > 0) {
    out_ += fmt::format(
        "The shim lost {} events in this process: figures are too low; -F json has the counters.\n",
        count_text(static_cast<std::int64_t>(losses.lost)));
  }
  if (losses.truncated_stacks > 0) {
    out_ += fmt::format("{} stacks were cut at {} frames (MEMTRACE_FRAMES).\n", losses.truncated_stacks,
                        in_.current->max_frames);
  }
  if (losses.failed_unwinds > 0) {
    out_ += fmt::format("{} stacks could not be unwound beyond the caller.\n", losses.failed_unwinds);
  }
  const auto notes = in_.symbolizer->notes();
  const std::size_t limit = style_.verbose ? notes.size() : 3;
  for (std::size_t i = 0; i < notes.size() && i < limit; ++i) out_ += "note: " + printable(notes[i]) + "\n";
  if (notes.size() > limit)
    out_ += fmt::format("note: {} more notes about symbols: -v\n", notes.size() - limit);
}

}  // namespace

std::string text_report(const ReportInput& input, const ReportStyle& style) {
  return TextReport(input, style).build();
}

}  // namespace memtrace
