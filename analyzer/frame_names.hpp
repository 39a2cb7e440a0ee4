// Stacks of the CodeIndex as named frames: symbolized once, on demand, inlined functions expanded.
//
// Called by: grouping by symbol, filters, reports. One thread at a time; index and symbolizer must outlive
// it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "analyzer/code_index.hpp"
#include "analyzer/compare.hpp"
#include "analyzer/progress.hpp"
#include "analyzer/symbols/symbolizer.hpp"

namespace memtrace {

struct Frame {
  const SourceFrame* source = nullptr;  // null: nothing known but the place; owned by the symbolizer
  const Module* module = nullptr;       // null: code outside any module; owned by the snapshot
  Place place;
  bool wrapper = false;  // only passes allocations on (wrappers.hpp)

  [[nodiscard]] bool has_line() const {
    return source != nullptr && !source->file.empty() && source->line != 0;
  }
};

// "libfoo.so+0x1234", or the bare address.
[[nodiscard]] std::string place_text(const Frame& frame);
// "src/a.cc:88", or place_text.
[[nodiscard]] std::string line_text(const Frame& frame);
// The demangled function, or empty.
[[nodiscard]] std::string function_text(const Frame& frame);
// The file's name in a path.
[[nodiscard]] std::string base_name(const std::string& path);

class FrameNames {
 public:
  FrameNames(const CodeIndex& index, Symbolizer& symbolizer) : index_(index), symbolizer_(symbolizer) {}

  // frames() will be asked for the stacks of all these bins: symbolizes them at once, on all processors.
  void prepare(const std::vector<Bin>& bins, Progress::Show show);

  // Innermost first.
  [[nodiscard]] std::vector<Frame> frames(std::uint32_t stack);
  // Position in frames(stack) of the frame that names the call site: the innermost that is no wrapper, else
  // 0.
  [[nodiscard]] static std::size_t naming_frame(const std::vector<Frame>& frames);
  [[nodiscard]] const CodeIndex& index() const { return index_; }

 private:
  const std::vector<Frame>& at(std::uint32_t place);

  const CodeIndex& index_;
  Symbolizer& symbolizer_;
  std::vector<std::vector<Frame>> by_place_;  // empty: not asked for yet
};

}  // namespace memtrace
