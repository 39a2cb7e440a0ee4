// Says what a file that is no snapshot looks like, and what to do with it.
//
// Called by: the reader, once, when a file does not begin with our head. Input is hostile. Pure.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace memtrace {

// `start`: the first bytes of the file, all of it or at least a few hundred. A sentence without the file's
// name.
[[nodiscard]] std::string describe_foreign_file(std::span<const std::byte> start);

}  // namespace memtrace
