// Which functions only pass an allocation on: malloc, operator new, containers of the standard libraries,
// glib, ...
//
// The line to open is the caller of these; so they are passed over when a call site is named (and still shown
// in stacks). Pure functions of demangled names.
#pragma once

#include <string>
#include <string_view>

namespace memtrace {

// "void std::vector<int>::f<long>(int)" -> "std::vector<int>::f<long>": return type and parameters taken off.
[[nodiscard]] std::string_view qualified_name(std::string_view demangled);

// What a reader needs of a library function: "void std::map<int, X>::f<long>(int)" ->
// "std::map<...>::f<...>".
[[nodiscard]] std::string without_arguments(std::string_view demangled);

// `function` demangled, may be empty; `file` of its source, may be empty; `module` the path of its module.
[[nodiscard]] bool is_wrapper(std::string_view function, std::string_view file, std::string_view module);

}  // namespace memtrace
