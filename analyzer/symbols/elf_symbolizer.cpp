#include "analyzer/symbols/elf_symbolizer.hpp"

#include <map>
#include <unordered_map>
#include <utility>

#include "analyzer/symbols/debug_files.hpp"
#include "analyzer/symbols/module_symbols.hpp"

namespace memtrace {
namespace {

class ElfSymbolizer final : public Symbolizer {
 public:
  explicit ElfSymbolizer(SymbolOptions options) : files_(std::move(options)) {}

  const std::vector<SourceFrame>& resolve(const Module& module, std::uint64_t file_offset) override {
    // "[vdso]", "[heap]": no file.
    if (module.path.empty() || module.path.starts_with('[')) return nothing_;
    Entry& entry = modules_[{module.path, module.build_id}];
    if (entry.symbols == nullptr) entry.symbols = std::make_unique<ModuleSymbols>(module, files_);
    const auto [place, is_new] = entry.frames.try_emplace(file_offset);
    if (is_new) place->second = entry.symbols->resolve(module, file_offset);
    return place->second;
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
    std::unordered_map<std::uint64_t, std::vector<SourceFrame>>
        frames;  // by file offset; references stay valid
  };

  const std::vector<SourceFrame> nothing_;
  DebugFiles files_;
  std::map<std::pair<std::string, std::string>, Entry> modules_;  // by path and build-id
};

}  // namespace

std::unique_ptr<Symbolizer> make_elf_symbolizer(SymbolOptions options) {
  return std::make_unique<ElfSymbolizer>(std::move(options));
}

}  // namespace memtrace
