// Damages an ELF file where it hurts: inside one section, inside what a section holds compressed, or in the
// tables that say where sections and segments are.
//
// Blind changes mostly hit padding or code, and what is compressed fails its checksum and is not read at all.
#pragma once

#include <cstddef>
#include <vector>

#include "tests/fuzz/random.hpp"

namespace memtrace::fuzz {

// One change or a few. False: it has no sections to be found, and is as it was.
bool mutate_elf(std::vector<std::byte>& file, Random& random);

// Makes the checksum in the .gnu_debuglink of `binary`, if it has one, that of `debug_file`.
void correct_debug_link(std::vector<std::byte>& binary, const std::vector<std::byte>& debug_file);

}  // namespace memtrace::fuzz
