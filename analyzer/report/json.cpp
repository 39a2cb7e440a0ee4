#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "analyzer/report/report.hpp"
#include "analyzer/units.hpp"

namespace memtrace {
namespace {

// Keys in the order in which they are documented.
using Json = nlohmann::ordered_json;

// Of a row. Each takes a KiB while the report is put together, and the shim never takes so many.
constexpr std::size_t kMostFrames = 4096;

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json snapshot_json(const std::string& file, const Snapshot& snapshot, std::int64_t live_bytes,
                   std::int64_t live_count) {
  Json json;
  json["file"] = file;
  json["time"] = text_or_null(utc_text(snapshot.realtime_ns));
  json["pid"] = snapshot.pid;
  json["exe"] = text_or_null(snapshot.exe);
  json["host"] = text_or_null(snapshot.host);
  json["rss"] = snapshot.rss_bytes == 0 ? Json(nullptr) : Json(snapshot.rss_bytes);
  json["live_bytes"] = live_bytes;
  json["live_count"] = live_count;
  return json;
}

// One snapshot alone: the old side is empty memory, of which nothing else is known.
Json no_snapshot_json() {
  Json json;
  for (const char* name : {"file", "time", "pid", "exe", "host", "rss"}) json[name] = nullptr;
  json["live_bytes"] = 0;
  json["live_count"] = 0;
  return json;
}

Json figures_json(const Figures& figures) {
  return {{"old", figures.old}, {"new", figures.current}, {"diff", figures.diff}};
}

Json module_json(const Frame& frame) {
  return frame.module == nullptr ? Json(nullptr) : Json(base_name(frame.module->path));
}

Json frame_json(const Frame& frame) {
  const bool known = frame.source != nullptr;
  Json json;
  json["function"] = text_or_null(function_text(frame));
  json["file"] = known ? text_or_null(frame.source->file) : Json(nullptr);
  json["line"] = known && frame.source->line != 0 ? Json(frame.source->line) : Json(nullptr);
  json["inline"] = known && frame.source->inlined;
  json["module"] = module_json(frame);
  json["address"] = fmt::format("{:#x}", frame.place.address);
  json["offset"] = frame.module == nullptr ? Json(nullptr) : Json(fmt::format("{:#x}", frame.place.offset));
  return json;
}

Json site_json(const ReportInput& input, std::size_t rank, std::uint32_t site) {
  const Row row = make_row(input, site);
  const Tallies& t = row.site->tallies;
  const Interval interval = bytes_interval(input.growth->comparison, t);
  const Frame* naming = row.frames.empty() ? nullptr : &row.frames[row.naming];
  const bool known = naming != nullptr && naming->source != nullptr;
  const Module* module = naming == nullptr ? nullptr : naming->module;
  Json json;
  json["rank"] = rank;
  json["key"] = row.key;
  json["function"] = text_or_null(row.function);
  json["file"] = known ? text_or_null(naming->source->file) : Json(nullptr);
  json["line"] = known && naming->source->line != 0 ? Json(naming->source->line) : Json(nullptr);
  json["module"] = naming == nullptr ? Json(nullptr) : module_json(*naming);
  json["build_id"] = module == nullptr ? Json(nullptr) : text_or_null(module->build_id);
  json["size"] = figures_json(bytes_of(t));
  json["count"] = figures_json(counts_of(t));
  json["samples"] = {
      {"old", t.old.samples}, {"new", t.current.samples}, {"born", t.born.samples}, {"died", t.died.samples}};
  json["size_diff_ci95"] = {whole(interval.lower), whole(interval.upper)};
  json["stack"] = Json::array();
  for (const auto& frame : std::span(row.frames).first(std::min(row.frames.size(), kMostFrames)))
    json["stack"].push_back(frame_json(frame));
  return json;
}

}  // namespace

std::string json_report(const ReportInput& input, const ReportStyle& style) {
  const Comparison& comparison = input.growth->comparison;
  Json json;
  json["schema"] = input.old == nullptr ? "memtrace.live/1" : "memtrace.diff/1";
  const Figures bytes = bytes_of(comparison.totals);
  const Figures count = counts_of(comparison.totals);
  json["old"] = input.old == nullptr ? no_snapshot_json()
                                     : snapshot_json(input.old_file, *input.old, bytes.old, count.old);
  json["new"] = snapshot_json(input.current_file, *input.current, bytes.current, count.current);
  json["same_process"] = input.old == nullptr || comparison.same_process;
  json["sampling"] = {{"interval_bytes", input.current->interval_bytes},
                      {"estimated", comparison.sampling.estimated() || comparison.old_sampling.estimated()}};
  json["verdict"] = word(input.verdict.word);
  json["totals"] = {{"size", figures_json(bytes_of(input.growth->totals))},
                    {"count", figures_json(counts_of(input.growth->totals))}};
  json["sites"] = Json::array();
  std::size_t rank = 0;
  for (const auto site : input.growth->ranked) {
    if (style.top != 0 && rank == style.top) break;
    json["sites"].push_back(site_json(input, ++rank, site));
  }
  const Losses losses = losses_of(*input.current);
  json["self"] = {{"lost", losses.lost},
                  {"truncated_stacks", losses.truncated_stacks},
                  {"failed_unwinds", losses.failed_unwinds}};
  json["warnings"] = input.warnings;
  // File names and symbols need not be UTF-8; JSON must be.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace memtrace
