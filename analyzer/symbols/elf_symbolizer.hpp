// The symbolizer for native code: ELF symbols and DWARF lines, of this machine or of a copied file tree.
//
// Thread-safety: one thread at a time. Files are opened when a module is first asked for and stay open.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "analyzer/symbols/symbolizer.hpp"

namespace memtrace {

struct SymbolOptions {
  std::string sysroot;  // put before every path of the snapshot and before /usr/lib/debug
  std::vector<std::string>
      debug_paths;         // searched before /usr/lib/debug: .build-id trees, or the files themselves
  bool debuginfod = true;  // still needs a non-empty DEBUGINFOD_URLS
};

// Never null. Of each binary and debug file the build-id is compared with the module's before it is used.
[[nodiscard]] std::unique_ptr<Symbolizer> make_elf_symbolizer(SymbolOptions options);

}  // namespace memtrace
