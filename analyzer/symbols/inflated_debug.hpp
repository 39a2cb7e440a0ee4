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

#include <cstdint>
#include <memory>
#include <string_view>

#include "analyzer/symbols/elf_file.hpp"

namespace memtrace {

// What all compressed sections of a file together claim to hold.
struct Inflation {
  std::uint64_t bytes = 0;
  bool beyond_measure = false;  // more than those of any compiler would
};
[[nodiscard]] Inflation inflation_of(const ElfFile& file);

// What the sections whose names end in `name` hold, once decompressed.
[[nodiscard]] std::uint64_t inflated_bytes(const ElfFile& file, std::string_view name);

// Null when there is nothing to decompress or it cannot be done; libdw itself may still be able to.
[[nodiscard]] std::unique_ptr<ElfFile> inflate_debug_sections(const ElfFile& file);

}  // namespace memtrace
