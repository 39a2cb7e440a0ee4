#include "analyzer/call_sites.hpp"

#include <algorithm>
#include <cmath>

namespace memtrace {
namespace {

struct KeyOfFrame {
  std::string text;
  std::uint32_t line = 0;
  bool operator==(const KeyOfFrame&) const = default;
};

KeyOfFrame key_of_frame(const Frame& frame, GroupBy by) {
  const bool named = frame.source != nullptr;
  switch (by) {
    case GroupBy::kFunction:
      if (named && !frame.source->function.empty()) return {frame.source->function, 0};
      break;
    case GroupBy::kModule:
      return {frame.module != nullptr ? frame.module->path : "[no module]", 0};
    case GroupBy::kFilename:
      if (named && !frame.source->file.empty()) return {frame.source->file, 0};
      if (frame.module != nullptr) return {frame.module->path, 0};
      break;
    default:
      if (frame.has_line()) return {frame.source->file, frame.source->line};
  }
  return {place_text(frame), 0};
}

class KeyMaker {
 public:
  KeyMaker(const Grouping& grouping, FrameNames& names, KeyTable& keys)
      : grouping_(grouping), names_(names), keys_(keys) {}

  // The distinct keys of a stack.
  std::vector<std::uint32_t> of(std::uint32_t stack) {
    const auto frames = names_.frames(stack);
    if (frames.empty()) return {keys_.intern({{keys_.intern_text("[no stack]"), 0}})};
    if (grouping_.by == GroupBy::kTraceback) {
      std::vector<SourceLine> lines;
      for (const auto& frame : frames) lines.push_back(line(frame, GroupBy::kLineno));
      std::ranges::reverse(lines);
      return {keys_.intern(std::move(lines))};
    }
    const std::size_t naming = grouping_.skip_wrappers ? FrameNames::naming_frame(frames) : 0;
    std::vector<std::uint32_t> result = {key(frames[naming])};
    if (!grouping_.cumulative) return result;
    for (const auto& frame : frames) {
      if (!(grouping_.skip_wrappers && frame.wrapper)) result.push_back(key(frame));
    }
    std::ranges::sort(result);
    result.erase(std::unique(result.begin(), result.end()), result.end());
    return result;
  }

 private:
  SourceLine line(const Frame& frame, GroupBy by) {
    const KeyOfFrame key = key_of_frame(frame, by);
    return {keys_.intern_text(key.text), key.line};
  }
  std::uint32_t key(const Frame& frame) { return keys_.intern({line(frame, grouping_.by)}); }

  const Grouping& grouping_;
  FrameNames& names_;
  KeyTable& keys_;
};

}  // namespace

std::size_t naming_position(const CallSites& call_sites, const CallSite& site,
                            const std::vector<Frame>& frames, const Grouping& grouping) {
  if (grouping.cumulative) {
    const auto key = call_sites.keys.lines(site.key).front();
    const KeyOfFrame wanted{call_sites.keys.text(key.file), key.line};
    std::size_t position = frames.size();
    for (std::size_t i = 0; i < frames.size(); ++i) {
      if (key_of_frame(frames[i], grouping.by) != wanted) continue;
      if (!frames[i].wrapper) return i;
      position = std::min(position, i);
    }
    if (position < frames.size()) return position;
  }
  return grouping.skip_wrappers ? FrameNames::naming_frame(frames) : 0;
}

std::uint32_t KeyTable::intern_text(const std::string& text) {
  const auto [found, inserted] = by_text_.try_emplace(text, static_cast<std::uint32_t>(texts_.size()));
  if (inserted) texts_.push_back(text);
  return found->second;
}

std::uint32_t KeyTable::intern(std::vector<SourceLine> lines) {
  const auto [found, inserted] = by_lines_.try_emplace(std::move(lines), size());
  if (inserted) keys_.push_back(&found->first);  // nodes of a map do not move
  return found->second;
}

std::strong_ordering KeyTable::compare(std::uint32_t a, std::uint32_t b) const {
  const auto left = lines(a);
  const auto right = lines(b);
  return std::lexicographical_compare_three_way(left.begin(), left.end(), right.begin(), right.end(),
                                                [&](const SourceLine& x, const SourceLine& y) {
                                                  if (x.file != y.file)
                                                    return texts_[x.file].compare(texts_[y.file]) <=> 0;
                                                  return x.line <=> y.line;
                                                });
}

CallSites group(const Comparison& comparison, const std::vector<bool>& wanted, const Grouping& grouping,
                FrameNames& names, const ThreadTable& threads, Progress& progress) {
  constexpr std::uint32_t kNone = UINT32_MAX;
  CallSites result;
  std::vector<std::uint32_t> site_of_key;
  std::vector<double> shown_bytes;  // of each site's stack to show
  KeyMaker maker(grouping, names, result.keys);
  const bool plain_traceback = grouping.by == GroupBy::kTraceback && !grouping.by_source_lines;
  const auto keys_of = [&](const Bin& bin) -> std::vector<std::uint32_t> {
    if (plain_traceback) return {bin.stack};
    if (grouping.by == GroupBy::kThread) {
      return {result.keys.intern({{result.keys.intern_text(threads.label(bin.thread)), 0}})};
    }
    return maker.of(bin.stack);
  };

  for (std::size_t b = 0; b < comparison.bins.size(); ++b) {
    result.first_site.push_back(static_cast<std::uint32_t>(result.site_of.size()));
    progress.step();
    if (!wanted[b]) continue;
    const auto& bin = comparison.bins[b];
    for (const auto key : keys_of(bin)) {
      if (key >= site_of_key.size()) site_of_key.resize(key + std::size_t{1}, kNone);
      auto& site = site_of_key[key];
      if (site == kNone) {
        site = static_cast<std::uint32_t>(result.sites.size());
        result.sites.push_back({.key = key, .stack = bin.stack, .tallies = {}});
        shown_bytes.push_back(-1);
      }
      result.site_of.push_back(site);
      result.sites[site].tallies.add(bin.tallies);
      const double moved = std::abs(bin.tallies.born.bytes - bin.tallies.died.bytes);
      if (moved > shown_bytes[site]) {
        shown_bytes[site] = moved;
        result.sites[site].stack = bin.stack;
      }
    }
  }
  result.first_site.push_back(static_cast<std::uint32_t>(result.site_of.size()));
  return result;
}

}  // namespace memtrace
