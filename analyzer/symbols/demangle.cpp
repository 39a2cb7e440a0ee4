#include "analyzer/symbols/demangle.hpp"

#include <libiberty/demangle.h>

#include <csetjmp>
#include <cstddef>

namespace memtrace {
namespace {

// The parser of C++ names recurses once for each byte at worst; by itself it would refuse names over 1 KiB,
// which templates exceed.
constexpr std::size_t kMaxMangledBytes = 8 << 10;
constexpr std::size_t kMaxDemangledBytes = 64 << 10;

constexpr int kOptions = DMGL_PARAMS | DMGL_ANSI;

struct Output {
  std::string text;
  std::jmp_buf too_long;
};

// A few hundred bytes of substitutions can stand for terabytes of text, and the demangler offers no other way
// out. It keeps its own state on the stack, so leaving early loses at most one small buffer.
void append(const char* bytes, std::size_t size, void* opaque) {
  auto& output = *static_cast<Output*>(opaque);
  if (output.text.size() + size > kMaxDemangledBytes) std::longjmp(output.too_long, 1);
  output.text.append(bytes, size);
}

using Demangler = int (*)(const char*, int, demangle_callbackref, void*);

bool run(Demangler demangler, int options, const char* name, Output& output) {
  output.text.clear();
  if (setjmp(output.too_long) != 0) return false;
  return demangler(name, options, append, &output) != 0 && !output.text.empty();
}

}  // namespace

bool is_mangled(const std::string& name) { return name.starts_with("_Z") || name.starts_with("_R"); }

std::string demangle(const std::string& name) {
  if (name.size() > kMaxMangledBytes || !is_mangled(name)) return name;
  Output output;
  // Rust first: a legacy Rust name is also a valid C++ name, with the hash as its last part.
  if (run(rust_demangle_callback, kOptions, name.c_str(), output)) return output.text;
  if (run(cplus_demangle_v3_callback, kOptions | DMGL_NO_RECURSE_LIMIT, name.c_str(), output))
    return output.text;
  return name;
}

}  // namespace memtrace
