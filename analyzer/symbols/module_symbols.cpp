#include "analyzer/symbols/module_symbols.hpp"

#include <algorithm>
#include <future>
#include <thread>
#include <utility>

#include "analyzer/symbols/demangle.hpp"
#include "analyzer/symbols/inflated_debug.hpp"
#include "analyzer/symbols/mini_debug_info.hpp"

namespace memtrace {
namespace {

constexpr std::uint64_t kPageBytes = 4096;

// Fewer addresses are resolved before a thread has opened the file.
constexpr std::size_t kWorthAThread = 128;

// A reader of the same lines for another thread.
struct LinesCopy {
  LinesCopy(const ElfFile& from, const ElfFile* from_alternate)
      : file(from.another_handle()),
        alternate(from_alternate != nullptr ? from_alternate->another_handle() : nullptr) {
    const bool whole = file != nullptr && (alternate != nullptr) == (from_alternate != nullptr);
    if (whole) lines = DwarfLines::open(*file, alternate.get());
  }
  std::unique_ptr<ElfFile> file;
  std::unique_ptr<ElfFile> alternate;
  std::unique_ptr<DwarfLines> lines;
};

std::string list(const DebugFiles::Refusals& refusals) {
  std::string text;
  for (const std::string& refusal : refusals) text += (text.empty() ? "" : ", ") + refusal;
  return text;
}

std::string identity(const Module& module) {
  return module.build_id.empty() ? std::string() : " (build-id " + module.build_id + ")";
}

}  // namespace

ModuleSymbols::ModuleSymbols(const Module& module, DebugFiles& files) {
  DebugFiles::Refusals refusals;
  binary_ = files.find_binary(module, refusals);
  if (binary_ != nullptr && module.build_id.empty() && !binary_->build_id().empty()) {
    notes_.push_back(module.path + ": the snapshot has no build-id for it, so " + binary_->path() +
                     " may be another version; check its date against the snapshot's.");
  }
  if (binary_ != nullptr && binary_->has_debug_info()) {
    open_dwarf(module, files);
    return;
  }
  DebugFiles::Refusals debug_refusals;
  debug_file_ = files.find_debug_file(module, binary_.get(), debug_refusals);
  if (debug_file_ != nullptr && debug_file_->has_debug_info()) {
    open_dwarf(module, files);
    return;
  }
  refusals.insert(refusals.end(), debug_refusals.begin(), debug_refusals.end());
  std::sort(refusals.begin(), refusals.end());
  refusals.erase(std::unique(refusals.begin(), refusals.end()), refusals.end());
  const std::string refused = refusals.empty() ? "" : "; not used: " + list(refusals);
  const std::string failure = files.debuginfod_failure();
  const std::string server = failure.empty() ? "" : "; debuginfod: " + failure;
  if (binary_ == nullptr && debug_file_ == nullptr) {
    notes_.push_back(
        module.path + identity(module) + ": not found" + refused + server +
        "; use --sysroot DIR for a copy of its file tree, or --debug-path DIR for its directory.");
  } else {
    notes_.push_back(module.path + identity(module) + ": no debug information, so no lines" + refused +
                     server + "; install its -dbg or -dbgsym package, or use --debug-path DIR.");
  }
}

void ModuleSymbols::open_dwarf(const Module& module, DebugFiles& files) {
  const ElfFile& file = debug_file_ != nullptr ? *debug_file_ : *binary_;
  DebugFiles::Refusals refusals;
  const auto link = file.alternate_link();
  if (link) alternate_ = files.find_alternate(file, refusals);
  open_lines(file);
  if (dwarf_ != nullptr) return;
  if (link && alternate_ == nullptr) {
    notes_.push_back(module.path + ": " + file.path() + " needs " + link->name + " (build-id " +
                     link->build_id + ")" + (refusals.empty() ? "" : "; not used: " + list(refusals)) +
                     "; copy it to the same place below --debug-path DIR.");
  } else {
    notes_.push_back(module.path + ": the debug information in " + file.path() +
                     " is damaged; install the file again, or use --debug-path DIR.");
  }
}

void ModuleSymbols::open_lines(const ElfFile& file) {
  if (inflation_of(file).beyond_measure ||
      (alternate_ != nullptr && inflation_of(*alternate_).beyond_measure))
    return;
  inflated_ = inflate_debug_sections(file);
  if (alternate_ != nullptr) inflated_alternate_ = inflate_debug_sections(*alternate_);
  lines_alternate_ = inflated_alternate_ != nullptr ? inflated_alternate_.get() : alternate_.get();
  lines_file_ = inflated_ != nullptr ? inflated_.get() : &file;
  dwarf_ = DwarfLines::open(*lines_file_, lines_alternate_);
  split_ = dwarf_ != nullptr && lines_file_->section(".debug_addr") != nullptr && dwarf_->has_split_units();
  // libdw looks for split files beside the file too, which one in memory does not lie anywhere.
  if (inflated_ == nullptr || (dwarf_ != nullptr && !split_)) return;
  lines_file_ = &file;
  dwarf_ = DwarfLines::open(file, lines_alternate_);
}

std::optional<std::uint64_t> ModuleSymbols::vaddr_of(const Module& module, std::uint64_t file_offset) const {
  if (binary_ != nullptr) return binary_->vaddr_of(file_offset);
  // A debug file keeps the addresses of segments but not their offsets. With one segment of code, the
  // module's own range stands in for it.
  const auto code = debug_file_ != nullptr ? debug_file_->code_vaddr() : std::nullopt;
  if (!code || file_offset < module.file_offset ||
      file_offset - module.file_offset >= module.end - module.start) {
    return std::nullopt;
  }
  // The module may start at the segment or at the page it lies in.
  const bool exact = (module.file_offset - *code) % kPageBytes == 0;
  return (exact ? *code : *code - *code % kPageBytes) + (file_offset - module.file_offset);
}

std::optional<SymbolTable::Match> ModuleSymbols::find_symbol(std::uint64_t vaddr) {
  if (!symbols_) {
    symbols_.emplace();
    if (debug_file_ != nullptr) symbols_->emplace_back(*debug_file_, SymbolSection::kSymtab);
    if (binary_ != nullptr) {
      symbols_->emplace_back(*binary_, SymbolSection::kSymtab);
      mini_ = read_mini_debug_info(*binary_);
      if (mini_ != nullptr) symbols_->emplace_back(*mini_, SymbolSection::kSymtab);
      symbols_->emplace_back(*binary_, SymbolSection::kDynsym);
    }
  }
  for (const SymbolTable& table : *symbols_) {
    if (auto match = table.find(vaddr); match && !match->name.empty()) return match;
  }
  return std::nullopt;
}

std::vector<SourceFrame> ModuleSymbols::resolve(const Module& module, std::uint64_t file_offset) {
  const auto vaddr = vaddr_of(module, file_offset);
  if (!vaddr) return {};
  return with_symbol(dwarf_ != nullptr ? dwarf_->resolve(*vaddr) : DwarfLines::Answer(), *vaddr);
}

std::vector<std::vector<SourceFrame>> ModuleSymbols::resolve_all(
    const std::vector<Symbolizer::Question>& questions, const std::function<void()>& step) {
  std::vector<std::vector<SourceFrame>> answers(questions.size());
  // Split files that cannot be used are collected by the one handle that notes() asks.
  const std::size_t most = dwarf_ == nullptr || split_ ? 1 : std::thread::hardware_concurrency();
  const std::size_t workers =
      std::clamp<std::size_t>(questions.size() / kWorthAThread, 1, std::max<std::size_t>(most, 1));
  if (workers == 1) {
    for (std::size_t i = 0; i < questions.size(); ++i) {
      answers[i] = resolve(*questions[i].module, questions[i].file_offset);
      step();
    }
    return answers;
  }
  std::vector<std::pair<std::uint64_t, std::size_t>> by_vaddr;  // neighbours share a unit
  for (std::size_t i = 0; i < questions.size(); ++i) {
    if (const auto vaddr = vaddr_of(*questions[i].module, questions[i].file_offset)) {
      by_vaddr.emplace_back(*vaddr, i);
    } else {
      step();
    }
  }
  std::ranges::sort(by_vaddr);
  std::vector<DwarfLines::Answer> found(by_vaddr.size());
  const auto first_of = [&](std::size_t worker) { return by_vaddr.size() * worker / workers; };
  const auto resolve_part = [&](DwarfLines& lines, std::size_t worker,
                                const std::function<void()>& after_each) {
    for (std::size_t i = first_of(worker); i < first_of(worker + 1); ++i) {
      found[i] = lines.resolve(by_vaddr[i].first);
      after_each();
    }
  };
  enum class Helped : std::uint8_t { kNot, kWholly, kGaveUp };
  std::vector<std::future<Helped>> helpers;
  for (std::size_t worker = 1; worker < workers; ++worker) {
    // Where no thread can be had, its part is done when it is asked for.
    helpers.push_back(std::async(std::launch::async | std::launch::deferred, [&, worker] {
      const LinesCopy copy(*lines_file_, lines_alternate_);
      if (copy.lines == nullptr) return Helped::kNot;
      resolve_part(*copy.lines, worker, [] {});
      return copy.lines->gave_up() ? Helped::kGaveUp : Helped::kWholly;
    }));
  }
  resolve_part(*dwarf_, 0, [&] {
    for (std::size_t i = 0; i < workers; ++i) step();
  });
  for (std::size_t worker = 1; worker < workers; ++worker) {
    const Helped helped = helpers[worker - 1].get();
    if (helped == Helped::kNot) resolve_part(*dwarf_, worker, step);
    helper_gave_up_ = helper_gave_up_ || helped == Helped::kGaveUp;
  }
  for (std::size_t i = 0; i < by_vaddr.size(); ++i)
    answers[by_vaddr[i].second] = with_symbol(std::move(found[i]), by_vaddr[i].first);
  return answers;
}

// A plain name, or none, may be known better by a symbol table.
std::vector<SourceFrame> ModuleSymbols::with_symbol(DwarfLines::Answer answer, std::uint64_t vaddr) {
  if (!answer.frames.empty() && !answer.plain_name) return std::move(answer.frames);
  const auto symbol = symbol_bytes_left_ > 0 ? find_symbol(vaddr) : std::nullopt;
  if (!symbol) return std::move(answer.frames);
  if (answer.frames.empty()) answer.frames.emplace_back();
  std::string& function = answer.frames.back().function;
  std::string demangled = demangle(symbol->name);
  symbol_bytes_left_ -= std::min<std::uint64_t>(demangled.size(), symbol_bytes_left_);
  // Of a C function the plain name is the right one; an alias may happen to be what the symbol table says.
  if (function.empty() || demangled != symbol->name) function = std::move(demangled);
  return std::move(answer.frames);
}

std::vector<std::string> ModuleSymbols::notes() const {
  std::vector<std::string> notes = notes_;
  if (helper_gave_up_ || (dwarf_ != nullptr && dwarf_->gave_up())) {
    notes.push_back(
        lines_file_->path() +
        ": its debug information takes more work than any compiler's would, so some functions and "
        "lines were left out; install the file again, or use --debug-path DIR.");
  }
  if (symbol_bytes_left_ == 0) {
    notes.push_back((debug_file_ != nullptr ? debug_file_ : binary_)->path() +
                    ": the names in its symbol tables are too long to be repeated, so some were left out; "
                    "install the file again, or use --debug-path DIR.");
  }
  if (dwarf_ != nullptr) {
    for (const std::string& unused : dwarf_->unused_split_files()) {
      notes.push_back(unused +
                      ", so no inlined frames from it; keep the .dwo files of the build where they were.");
    }
  }
  return notes;
}

}  // namespace memtrace
