// A copy of a file's debug information with every section decompressed, for libdw to read.
//
// libdw decompresses every section it knows, one after the other, with zlib. Debian's debug files are
// compressed, and of half a gigabyte that takes seconds. This takes the sections that are needed here alone,
// all at once, with a faster library.
//
// Called by: ModuleSymbols, once per file with debug information. Thread-safety: one thread at a time; starts
// threads and waits for them. Memory: the sections, decompressed. Input is untrusted: sizes are believed only
// as far as a compressor can go.
#pragma once

#include <memory>

#include "analyzer/symbols/elf_file.hpp"

namespace memtrace {

// Null when there is nothing to decompress or it cannot be done; libdw itself may still be able to.
[[nodiscard]] std::unique_ptr<ElfFile> inflate_debug_sections(const ElfFile& file);

}  // namespace memtrace
