#include "analyzer/symbols/elf_symbolizer.hpp"

#include <functional>
#include <map>
#include <unordered_map>
#include <utility>

#include "analyzer/keyed_hash.hpp"
#include "analyzer/symbols/debug_files.hpp"
#include "analyzer/symbols/module_symbols.hpp"

namespace memtrace {
namespace {

class ElfSymbolizer final : public Symbolizer {
 public:
  explicit ElfSymbolizer(SymbolOptions options) : files_(std::move(options)) {}

  const std::vector<SourceFrame>& resolve(const Module& module, std::uint64_t file_offset) override {
    if (has_no_file(module)) return nothing_;
    Entry& entry = entry_of(module);
    const auto [place, is_new] = entry.frames.try_emplace(file_offset);
    if (is_new) place->second = entry.symbols->resolve(module, file_offset);
    return place->second;
  }

  void prepare(const std::vector<Question>& questions, const std::function<void()>& step) override {
    std::map<Entry*, std::vector<Question>> by_file;
    for (const Question& question : questions) {
      if (has_no_file(*question.module)) continue;
      Entry& entry = entry_of(*question.module);
      if (!entry.frames.contains(question.file_offset)) by_file[&entry].push_back(question);
    }
    for (const auto& [entry, asked] : by_file) {
      auto answers = entry->symbols->resolve_all(asked, step);
      for (std::size_t i = 0; i < asked.size(); ++i)
        entry->frames.try_emplace(asked[i].file_offset, std::move(answers[i]));
    }
  }

  [[nodiscard]] std::vector<std::string> notes() const override {
    std::vector<std::string> notes;
    for (const auto& [key, entry] : modules_) {
      for (std::string& note : entry.symbols->notes()) notes.push_back(std::move(note));
    }
    return notes;
  }

 private:
  struct Entry {
    std::unique_ptr<ModuleSymbols> symbols;
    std::unordered_map<std::uint64_t, std::vector<SourceFrame>, KeyedHash>
        frames;  // by file offset; references stay valid
  };

  // "[vdso]", "[heap]".
  static bool has_no_file(const Module& module) {
    return module.path.empty() || module.path.starts_with('[');
  }

  Entry& entry_of(const Module& module) {
    Entry& entry = modules_[{module.path, module.build_id}];
    if (entry.symbols == nullptr) entry.symbols = std::make_unique<ModuleSymbols>(module, files_);
    return entry;
  }

  const std::vector<SourceFrame> nothing_;
  DebugFiles files_;
  std::map<std::pair<std::string, std::string>, Entry> modules_;  // by path and build-id
};

}  // namespace

std::unique_ptr<Symbolizer> make_elf_symbolizer(SymbolOptions options) {
  return std::make_unique<ElfSymbolizer>(std::move(options));
}

}  // namespace memtrace
