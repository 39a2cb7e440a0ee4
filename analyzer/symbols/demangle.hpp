// Linkage names to source names: C++ (Itanium), Rust legacy (without its hash) and Rust v0.
#pragma once

#include <string>

namespace memtrace {

// Whether the name is of a form demangle() knows. Plain C names and aliases are not.
[[nodiscard]] bool is_mangled(const std::string& name);

// `name` itself when it is not mangled, is malformed, or would grow beyond a fixed bound. Thread-safe.
[[nodiscard]] std::string demangle(const std::string& name);

}  // namespace memtrace
