// Finds the files that describe a module: its binary, its separate debug file, and what dwz moved out of
// that.
//
// Nothing with another build-id than the module's is ever returned. Thread-safety: one thread at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "analyzer/symbols/debuginfod_client.hpp"
#include "analyzer/symbols/elf_file.hpp"
#include "analyzer/symbols/elf_symbolizer.hpp"
#include "format/snapshot.hpp"

namespace memtrace {

class DebugFiles {
 public:
  // What was looked at and refused, as clauses for a note: "PATH has build-id X".
  using Refusals = std::vector<std::string>;

  explicit DebugFiles(SymbolOptions options);

  // Null when there is none; `module.path` may end in " (deleted)".
  [[nodiscard]] std::unique_ptr<ElfFile> find_binary(const Module& module, Refusals& refusals);
  // `binary` may be null: then only the build-id leads to the debug file.
  [[nodiscard]] std::unique_ptr<ElfFile> find_debug_file(const Module& module, const ElfFile* binary,
                                                         Refusals& refusals);
  [[nodiscard]] std::unique_ptr<ElfFile> find_alternate(const ElfFile& debug_file, Refusals& refusals);

  // Why the servers are asked no more; empty while all is well.
  [[nodiscard]] std::string debuginfod_failure() const;

 private:
  [[nodiscard]] std::vector<std::string> build_id_paths(const std::string& build_id,
                                                        const char* suffix) const;
  [[nodiscard]] std::vector<std::string> paths_under_debug_paths(const std::string& module_path) const;
  [[nodiscard]] std::vector<std::string> debug_link_paths(const std::string& directory,
                                                          const std::string& name) const;
  [[nodiscard]] DebuginfodClient* debuginfod();

  SymbolOptions options_;
  std::vector<std::string> roots_;  // directories that hold .build-id trees
  bool debuginfod_tried_ = false;
  std::unique_ptr<DebuginfodClient> debuginfod_;
};

// The path without the kernel's " (deleted)".
[[nodiscard]] std::string without_deleted_mark(const std::string& path);

}  // namespace memtrace
