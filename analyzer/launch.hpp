// Starting a program under the shim: finds the shim, refuses what cannot work, edits the environment.
//
// Called by: memtrace run, once, before exec. Thread-safety: none needed. The program's file is untrusted
// input.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace memtrace {

// libmemtrace.so of the installation or build tree that `own_executable` belongs to; nullopt when there is
// none.
[[nodiscard]] std::optional<std::filesystem::path> find_shim(const std::filesystem::path& own_executable);

// The loader splits LD_PRELOAD at colons and blanks: the reason why this path cannot stand there, if any.
[[nodiscard]] std::optional<std::string> preload_problem(const std::filesystem::path& shim);

// LD_PRELOAD with the shim first and what was there behind it; unchanged when the shim is there already.
[[nodiscard]] std::string preload_with(const std::filesystem::path& shim, std::string_view present);

// Where execvp would find `program`; empty when nowhere. A name with a slash is returned as it is.
[[nodiscard]] std::filesystem::path search_program(std::string_view program, std::string_view path_variable);

// The reason why the loader would not or could not bring the shim into this program, if any: static, made for
// another machine than the shim, or running with privileges of its own. Scripts are followed to their
// interpreter.
[[nodiscard]] std::optional<std::string> trace_problem(const std::filesystem::path& program,
                                                       const std::filesystem::path& shim);

// Replaces this process. Returns only on failure, with the status for the shell: 127 not found, 126 not
// executable.
[[nodiscard]] int replace_process(const std::vector<std::string>& command);

}  // namespace memtrace
