// A symbolizer without files: functions, sources and lines made of the module's path and the offset.
//
// So the names in reports are the snapshot's own text, whatever that is, and no path of it is opened.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "analyzer/symbols/symbolizer.hpp"

namespace memtrace::fuzz {

class InventedSymbols final : public Symbolizer {
 public:
  const std::vector<SourceFrame>& resolve(const Module& module, std::uint64_t file_offset) override {
    const auto [place, is_new] = frames_.try_emplace({module.path, file_offset});
    if (is_new) {
      for (std::uint64_t inlined = file_offset % 4; inlined > 0; --inlined) {
        SourceFrame frame;
        if (file_offset % 5 != 0) frame.function = module.path + (inlined == 2 ? "(int)" : "");
        if (file_offset % 3 != 0) frame.file = inlined == 1 ? module.path : "a.cc";
        frame.line = static_cast<std::uint32_t>(file_offset >> 2);
        frame.inlined = inlined > 1;
        place->second.push_back(std::move(frame));
      }
    }
    return place->second;
  }
  [[nodiscard]] std::vector<std::string> notes() const override {
    std::vector<std::string> notes;
    for (const auto& [key, frames] : frames_) {
      if (frames.empty()) notes.push_back(key.first);
    }
    return notes;
  }

 private:
  std::map<std::pair<std::string, std::uint64_t>, std::vector<SourceFrame>> frames_;
};

}  // namespace memtrace::fuzz
