// A copy of a file's debug information with every section decompressed, for libdw to read.
//
// libdw decompresses every section it knows, one after the other, with zlib. Debian's debug files are
// compressed, and of half a gigabyte that takes seconds. This takes the sections that are needed here alone,
// all at once, with a faster library.
//
// Called by: ModuleSymbols, once per file with debug information. Thread-safety: one thread at a time; starts
// threads and waits for them. Memory: the sections, decompressed. Input is untrusted: what claims more than
// debug information can be compressed is not decompressed, here or by libdw.
#pragma once

#include <memory>

#include "analyzer/symbols/elf_file.hpp"

namespace memtrace {

// Whether all compressed sections of the file together claim more than those of any compiler would.
[[nodiscard]] bool inflates_beyond_measure(const ElfFile& file);

// Null when there is nothing to decompress or it cannot be done; libdw itself may still be able to.
[[nodiscard]] std::unique_ptr<ElfFile> inflate_debug_sections(const ElfFile& file);

}  // namespace memtrace
