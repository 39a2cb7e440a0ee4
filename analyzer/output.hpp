// Where a report goes: stdout, or a file that is never overwritten unasked. And where complaints go.
#pragma once

#include <string>
#include <string_view>

namespace memtrace {

enum class Overwrite { kRefuse, kAllow };

// Empty when done, else the path and the cause. A file is complete or is not there.
[[nodiscard]] std::string write_file(const std::string& path, std::string_view text, Overwrite overwrite);

// As write_file. A reader that has gone away (memdiff | head) is no error.
[[nodiscard]] std::string write_stdout(std::string_view text);

// Never fails: with stderr closed or full there is nobody left to tell, and the exit status still has to be
// right.
void write_stderr(std::string_view text) noexcept;

}  // namespace memtrace
