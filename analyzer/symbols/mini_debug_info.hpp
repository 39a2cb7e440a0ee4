// MiniDebugInfo: the xz-compressed ELF file with a symbol table that Fedora keeps in .gnu_debugdata.
#pragma once

#include <memory>

#include "analyzer/symbols/elf_file.hpp"

namespace memtrace {

// Null when the file has none or it does not unpack within fixed bounds of memory.
[[nodiscard]] std::unique_ptr<ElfFile> read_mini_debug_info(const ElfFile& file);

}  // namespace memtrace
