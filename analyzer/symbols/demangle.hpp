// Linkage names to source names: C++ (Itanium), Rust legacy (without its hash) and Rust v0.
#pragma once

#include <string>

namespace memtrace {

// `name` itself when it is not mangled, is malformed, or would grow beyond a fixed bound. Thread-safe.
[[nodiscard]] std::string demangle(const std::string& name);

}  // namespace memtrace
