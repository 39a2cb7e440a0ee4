#include "analyzer/frame_names.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "analyzer/wrappers.hpp"

namespace memtrace {

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string place_text(const Frame& frame) {
  if (frame.module == nullptr) return fmt::format("{:#x}", frame.place.address);
  return fmt::format("{}+{:#x}", base_name(frame.module->path), frame.place.offset);
}

std::string line_text(const Frame& frame) {
  if (!frame.has_line()) return place_text(frame);
  return fmt::format("{}:{}", frame.source->file, frame.source->line);
}

std::string function_text(const Frame& frame) {
  return frame.source == nullptr ? "" : frame.source->function;
}

const std::vector<Frame>& FrameNames::at(std::uint32_t place) {
  if (by_place_.empty()) by_place_.resize(index_.place_count());
  auto& frames = by_place_[place];
  if (!frames.empty()) return frames;
  const Place& where = index_.place(place);
  const Module* module = index_.module(where);
  if (module != nullptr) {
    for (const auto& source : symbolizer_.resolve(*module, where.offset)) {
      frames.push_back({&source, module, where, is_wrapper(source.function, source.file, module->path)});
    }
  }
  if (frames.empty()) {
    frames.push_back({nullptr, module, where, module != nullptr && is_wrapper("", "", module->path)});
  }
  return frames;
}

void FrameNames::prepare(const std::vector<Bin>& bins, Progress::Show show) {
  std::vector<bool> asked(index_.place_count());
  std::vector<Symbolizer::Question> questions;
  for (const auto& bin : bins) {
    for (const auto place : index_.places(bin.stack)) {
      if (asked[place]) continue;
      asked[place] = true;
      const Place& where = index_.place(place);
      if (const Module* module = index_.module(where)) questions.push_back({module, where.offset});
    }
  }
  Progress progress("symbolizing", questions.size(), show);
  symbolizer_.prepare(questions, [&] { progress.step(); });
}

std::vector<Frame> FrameNames::frames(std::uint32_t stack) {
  std::vector<Frame> result;
  for (const auto place : index_.places(stack)) {
    const auto& expanded = at(place);
    result.insert(result.end(), expanded.begin(), expanded.end());
  }
  return result;
}

std::size_t FrameNames::naming_frame(const std::vector<Frame>& frames) {
  const auto found = std::ranges::find_if(frames, [](const Frame& frame) { return !frame.wrapper; });
  return found == frames.end() ? 0 : static_cast<std::size_t>(found - frames.begin());
}

}  // namespace memtrace
