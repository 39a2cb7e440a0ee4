// Addresses to source lines, behind one interface; implementations are chosen by the caller.
//
// Called by: grouping and reports, lazily: only for what is grouped by symbol or printed.
// Thread-safety: one thread at a time. Input (ELF, DWARF) is untrusted: nothing here may crash on it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "format/snapshot.hpp"

namespace memtrace {

struct SourceFrame {
  std::string function;  // demangled; empty when unknown
  std::string
      file;  // as in the debug information (joined with the compilation directory); empty when unknown
  std::uint32_t line = 0;  // 0: unknown
  bool inlined = false;    // this function was inlined into the next SourceFrame
};

class Symbolizer {
 public:
  virtual ~Symbolizer() = default;

  // Frames at `file_offset` of the module, innermost inlined function first. Empty when nothing is known: the
  // caller prints module+0xOFFSET. The reference stays valid until the symbolizer is destroyed.
  virtual const std::vector<SourceFrame>& resolve(const Module& module, std::uint64_t file_offset) = 0;

  // What resolve() will be asked for, each once and in any order: may do the work now, on all processors.
  // `step` is called on this thread, about once for each question. Changes no answer.
  struct Question {
    const Module* module = nullptr;
    std::uint64_t file_offset = 0;
  };
  virtual void prepare(const std::vector<Question>& questions, const std::function<void()>& step) {
    (void)questions;
    (void)step;
  }

  // Modules asked for whose symbols or lines were not found, one sentence each, for `-v` and the report's
  // foot.
  [[nodiscard]] virtual std::vector<std::string> notes() const = 0;
};

}  // namespace memtrace
