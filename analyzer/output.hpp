// Where a report goes: stdout, or a file that is never overwritten unasked.
#pragma once

#include <string>
#include <string_view>

namespace memtrace {

enum class Overwrite { kRefuse, kAllow };

// Empty when done, else a sentence with the path, the cause and the next step. A file is complete or is not
// there.
[[nodiscard]] std::string write_file(const std::string& path, std::string_view text, Overwrite overwrite);

// As write_file. A reader that has gone away (memdiff | head) is no error.
[[nodiscard]] std::string write_stdout(std::string_view text);

}  // namespace memtrace
