// Stacks -> call sites: which key of a report each stack belongs to.
//
// Grouping by traceback needs no symbols. Every other key is the text of the stack's naming frame
// (frame_names.hpp), so each stack is symbolized as far as its module has symbols.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "analyzer/compare.hpp"
#include "analyzer/frame_names.hpp"
#include "analyzer/keyed_hash.hpp"
#include "analyzer/progress.hpp"
#include "analyzer/thread_table.hpp"

namespace memtrace {

enum class GroupBy { kTraceback, kLineno, kFilename, kFunction, kModule, kThread };

struct Grouping {
  GroupBy by = GroupBy::kTraceback;
  bool cumulative = false;  // every frame's key gets the weight, once per stack; not for traceback and thread
  bool skip_wrappers = true;     // when naming
  bool by_source_lines = false;  // tracebacks are the same when their source lines are, as in tracemalloc
};

// Whether the key of a stack depends on its symbols.
[[nodiscard]] constexpr bool groups_by_symbols(const Grouping& grouping) {
  const bool plain_traceback = grouping.by == GroupBy::kTraceback && !grouping.by_source_lines;
  return !plain_traceback && grouping.by != GroupBy::kThread;
}

// "FILE:LINE"; a function, module or file alone has line 0. `file` is an index for KeyTable::text.
struct SourceLine {
  std::uint32_t file = 0;
  std::uint32_t line = 0;
  auto operator<=>(const SourceLine&) const = default;
};

// The keys in use, numbered from 0. A key is a list of source lines, oldest first: one, but for tracebacks.
class KeyTable {
 public:
  std::uint32_t intern_text(const std::string& text);
  std::uint32_t intern(std::vector<SourceLine> lines);
  [[nodiscard]] const std::string& text(std::uint32_t file) const { return texts_[file]; }
  [[nodiscard]] std::span<const SourceLine> lines(std::uint32_t key) const { return *keys_[key]; }
  [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(keys_.size()); }
  // Order of the keys by (text, line) of their lines, as Python compares tuples.
  [[nodiscard]] std::strong_ordering compare(std::uint32_t a, std::uint32_t b) const;

 private:
  std::vector<std::string> texts_;
  std::vector<const std::vector<SourceLine>*> keys_;
  std::unordered_map<std::string, std::uint32_t, KeyedHash> by_text_;
  std::map<std::vector<SourceLine>, std::uint32_t> by_lines_;
};

// One group of a report.
struct CallSite {
  std::uint32_t key = 0;    // for KeyTable; for plain tracebacks the stack
  std::uint32_t stack = 0;  // the stack to show: the one that moved the most bytes
  Tallies tallies;
};

struct CallSites {
  std::vector<CallSite> sites;  // in order of first appearance
  KeyTable keys;                // empty for plain tracebacks
  std::vector<std::uint32_t>
      first_site;  // sites of bin b: site_of[first_site[b]] .. site_of[first_site[b + 1]]
  std::vector<std::uint32_t> site_of;

  [[nodiscard]] std::span<const std::uint32_t> sites_of_bin(std::uint32_t bin) const {
    return std::span(site_of).subspan(first_site[bin], first_site[bin + 1] - first_site[bin]);
  }
};

// `wanted`: for each bin, whether it takes part (filters). One step of `progress` for each bin.
[[nodiscard]] CallSites group(const Comparison& comparison, const std::vector<bool>& wanted,
                              const Grouping& grouping, FrameNames& names, const ThreadTable& threads,
                              Progress& progress);

// Which of the frames of site.stack the site is named after; 0 when there are none.
[[nodiscard]] std::size_t naming_position(const CallSites& call_sites, const CallSite& site,
                                          const std::vector<Frame>& frames, const Grouping& grouping);

}  // namespace memtrace
