#include "analyzer/wrappers.hpp"

#include <algorithm>
#include <array>
#include <cctype>

namespace memtrace {
namespace {

bool starts_with_any(std::string_view text, auto const& prefixes) {
  return std::ranges::any_of(prefixes, [&](std::string_view prefix) { return text.starts_with(prefix); });
}

constexpr std::array<std::string_view, 8> kCppPrefixes = {
    "operator new",   "std::",  "__gnu_cxx::",        "__cxxabi",
    "__cxa_allocate", "__gnu_", "boost::container::", "absl::container_internal::"};

// Rust's own crates are known by path here, because namespaces called core or alloc are common in C++.
constexpr std::array<std::string_view, 14> kRustPrefixes = {
    "alloc::",      "core::", "std::",  "hashbrown::", "<alloc::", "<core::", "<std::",
    "<hashbrown::", "<T as ", "<I as ", "<&",          "<F as ",   "<[",      "<U as "};
constexpr std::array<std::string_view, 9> kRustAllocPrefixes = {
    "alloc::alloc::", "alloc::raw_vec::", "alloc::vec::",     "alloc::string::",    "alloc::boxed::",
    "alloc::sync::",  "alloc::slice::",   "<alloc::vec::Vec", "<alloc::string::Str"};
constexpr std::array<std::string_view, 8> kRustShims = {
    "__rust_alloc",     "__rust_realloc",  "__rdl_",          "__rg_",
    "__rustc::__rust_", "__rustc::__rdl_", "exchange_malloc", "__rust_"};

constexpr std::array<std::string_view, 20> kAllocSuffixes = {
    "malloc",    "calloc",      "realloc",       "reallocarray",   "memalign", "zalloc",   "strdup",
    "strndup",   "memdup",      "aligned_alloc", "malloc0",        "valloc",   "malloc_n", "malloc0_n",
    "realloc_n", "slice_alloc", "slice_alloc0",  "zmalloc_usable", "wcsdup",   "asprintf"};

// Their frames above the program's are either malloc itself or a library call that allocates for the program.
constexpr std::array<std::string_view, 14> kModulePrefixes = {
    "libc.so",    "libc-2",      "ld-linux",    "ld-musl",     "libstdc++.so", "libc++.so",  "libgcc_s",
    "libpthread", "libjemalloc", "libtcmalloc", "libmimalloc", "libmemtrace",  "libasan.so", "libc.musl"};

// HotSpot's: what lies above them is who wanted the memory.
constexpr std::array<std::string_view, 10> kJvmPrefixes = {"os::malloc",         "os::realloc",
                                                           "os::commit_memory",  "os::pd_commit_memory",
                                                           "os::reserve_memory", "os::pd_reserve_memory",
                                                           "os::strdup",         "AllocateHeap",
                                                           "ReallocateHeap",     "CHeapObj"};

// Compilers append these to clones of a function: f.part.0, f.constprop.0.cold, f.llvm.123.
std::string_view without_clone_suffix(std::string_view name) { return name.substr(0, name.find('.')); }

bool is_c_allocator(std::string_view name) {
  if (name.find(':') != std::string_view::npos) return false;
  std::string lower(without_clone_suffix(name));
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::ranges::any_of(kAllocSuffixes,
                             [&](std::string_view suffix) { return lower.ends_with(suffix); });
}

}  // namespace

std::string_view qualified_name(std::string_view demangled) {
  std::size_t begin = 0;
  std::size_t end = demangled.size();
  int angles = 0;
  int parens = 0;
  for (std::size_t i = 0; i < demangled.size(); ++i) {
    const char c = demangled[i];
    if (angles == 0 && parens == 0 && demangled.substr(i).starts_with("operator") &&
        (i == 0 || demangled[i - 1] == ':' || demangled[i - 1] == ' ')) {
      // Spaces, brackets and angles belong to the operator's name up to its parameters.
      const std::size_t params =
          demangled.find('(', i + 8 + (demangled.substr(i + 8).starts_with("()") ? 2U : 0U));
      return demangled.substr(begin, std::min(params, end) - begin);
    }
    if (c == '<') ++angles;
    if (c == '>' && (i == 0 || demangled[i - 1] != '-')) --angles;
    if (c == ')') --parens;
    if (c == '(') {
      if (angles == 0 && parens == 0 && i > begin &&
          !demangled.substr(i).starts_with("(anonymous namespace)")) {
        end = i;
        break;
      }
      ++parens;
    }
    // A Rust "<A as B>::f" has its spaces inside the angles.
    if (c == ' ' && angles == 0 && parens == 0) begin = i + 1;
  }
  return demangled.substr(begin, end - begin);
}

std::string without_arguments(std::string_view demangled) {
  const std::string_view name = qualified_name(demangled);
  if (name.starts_with('<')) return std::string(name);  // Rust: the type itself is in angles
  std::string result;
  int angles = 0;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    if (angles == 0 && name.substr(i).starts_with("operator")) return result.append(name.substr(i));
    if (c == '>' && i > 0 && name[i - 1] != '-') --angles;
    if (angles == 0) result += c;
    if (c == '<' && angles++ == 0) result += "...";
  }
  return result;
}

bool is_wrapper(std::string_view function, std::string_view file, std::string_view module) {
  const std::string_view base = module.substr(module.rfind('/') + 1);
  if (starts_with_any(base, kModulePrefixes)) return true;
  if (function.empty()) return false;
  const std::string_view name = qualified_name(function);
  if (starts_with_any(name, kCppPrefixes) || starts_with_any(name, kRustShims)) return true;
  if (base == "libjvm.so" && starts_with_any(name, kJvmPrefixes)) return true;
  if (file.ends_with(".rs") && starts_with_any(name, kRustPrefixes)) return true;
  if (file.empty() && starts_with_any(name, kRustAllocPrefixes)) return true;
  return is_c_allocator(name);
}

}  // namespace memtrace
