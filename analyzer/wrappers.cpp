#include "analyzer/wrappers.hpp"

#include <algorithm>
#include <array>
#include <iterator>

namespace memtrace {
namespace {

bool starts_with_any(std::string_view text, auto const& prefixes) {
  return std::ranges::any_of(prefixes, [&](std::string_view prefix) { return text.starts_with(prefix); });
}

constexpr std::array<std::string_view, 8> kCppPrefixes = {
    "operator new",   "std::",  "__gnu_cxx::",        "__cxxabi",
    "__cxa_allocate", "__gnu_", "boost::container::", "absl::container_internal::"};

// Rust's own crates are known by path here, because namespaces called core or alloc are common in C++.
constexpr std::array<std::string_view, 8> kRustPrefixes = {
    "alloc::", "core::", "std::", "hashbrown::", "<alloc::", "<core::", "<std::", "<hashbrown::"};
constexpr std::array<std::string_view, 9> kRustAllocPrefixes = {
    "alloc::alloc::", "alloc::raw_vec::", "alloc::vec::",     "alloc::string::",    "alloc::boxed::",
    "alloc::sync::",  "alloc::slice::",   "<alloc::vec::Vec", "<alloc::string::Str"};
constexpr std::array<std::string_view, 5> kRustShims = {"__rust_", "__rdl_", "__rg_", "__rustc::__rust_",
                                                        "__rustc::__rdl_"};

// The allocators of C that are known by name, whole: what a program calls my_pool_malloc is its own, and may
// be the very culprit.
// clang-format off
constexpr std::string_view kAllocators[] = {
    // libc
    "malloc", "calloc", "realloc", "reallocarray", "memalign", "posix_memalign", "aligned_alloc", "valloc",
    "pvalloc", "strdup", "strndup", "wcsdup", "asprintf", "vasprintf", "__libc_malloc", "__libc_calloc",
    "__libc_realloc", "__libc_memalign", "__strdup", "__strndup", "__asprintf", "__asprintf_chk",
    // malloc libraries that are linked in
    "je_malloc", "je_calloc", "je_realloc", "je_memalign", "je_aligned_alloc", "je_posix_memalign", "mallocx",
    "rallocx", "je_mallocx", "je_rallocx", "_rjem_malloc", "_rjem_calloc", "_rjem_realloc", "_rjem_mallocx",
    "_rjem_rallocx", "tc_malloc", "tc_calloc", "tc_realloc", "tc_memalign", "tc_new", "tc_newarray",
    "mi_malloc", "mi_zalloc", "mi_calloc", "mi_realloc", "mi_malloc_aligned", "mi_zalloc_aligned",
    "mi_realloc_aligned", "mi_new",
    // malloc or die: gnulib, binutils, git, bash, shells, textbooks
    "xmalloc", "xcalloc", "xzalloc", "xrealloc", "xreallocarray", "xnmalloc", "xnrealloc", "x2realloc",
    "x2nrealloc", "xpalloc", "ximalloc", "xicalloc", "xirealloc", "xizalloc", "xcharalloc", "xmemdup",
    "ximemdup", "ximemdup0", "xstrdup", "xstrndup", "xasprintf", "xvasprintf", "xmallocz", "xmallocz_gently",
    "xmemdupz", "do_xmalloc", "do_xmallocz", "sh_xmalloc", "sh_xrealloc", "bfd_malloc", "bfd_zmalloc",
    "bfd_realloc", "emalloc", "ecalloc", "erealloc", "estrdup", "safe_malloc", "safe_calloc", "safe_realloc",
    "safe_strdup",
    // glib
    "g_malloc", "g_malloc0", "g_malloc_n", "g_malloc0_n", "g_realloc", "g_realloc_n", "g_try_malloc",
    "g_try_malloc0", "g_try_malloc_n", "g_try_malloc0_n", "g_try_realloc", "g_try_realloc_n", "g_strdup",
    "g_strndup", "g_strdup_printf", "g_strdup_vprintf", "g_memdup", "g_memdup2", "g_slice_alloc",
    "g_slice_alloc0", "g_slice_copy", "g_aligned_alloc", "g_aligned_alloc0",
    // redis and its kin, zlib
    "zmalloc", "zcalloc", "zcalloc_num", "zrealloc", "zstrdup", "zmalloc_usable", "zcalloc_usable",
    "zrealloc_usable", "ztrymalloc", "ztrycalloc", "ztryrealloc", "ztrymalloc_usable", "ztrycalloc_usable",
    "ztryrealloc_usable", "ztrymalloc_usable_internal", "ztrycalloc_usable_internal",
    "ztryrealloc_usable_internal",
    // OpenSSL
    "CRYPTO_malloc", "CRYPTO_zalloc", "CRYPTO_calloc", "CRYPTO_realloc", "CRYPTO_clear_realloc",
    "CRYPTO_strdup", "CRYPTO_strndup", "CRYPTO_memdup", "CRYPTO_secure_malloc", "CRYPTO_secure_zalloc",
    // languages: CPython, Perl, Ruby, PHP, Lua
    "PyMem_Malloc", "PyMem_Calloc", "PyMem_Realloc", "PyMem_RawMalloc", "PyMem_RawCalloc", "PyMem_RawRealloc",
    "PyObject_Malloc", "PyObject_Calloc", "PyObject_Realloc", "_PyMem_RawMalloc", "_PyMem_RawCalloc",
    "_PyMem_RawRealloc", "_PyMem_Strdup", "_PyMem_RawStrdup", "_PyMem_RawWcsdup", "_PyObject_Malloc",
    "_PyObject_Calloc", "_PyObject_Realloc", "Perl_safesysmalloc", "Perl_safesyscalloc",
    "Perl_safesysrealloc", "ruby_xmalloc", "ruby_xmalloc2", "ruby_xcalloc", "ruby_xrealloc", "ruby_xrealloc2",
    "ruby_strdup", "_emalloc", "_ecalloc", "_erealloc", "_estrdup", "_estrndup", "_safe_emalloc",
    "_safe_malloc", "__zend_malloc", "__zend_calloc", "__zend_realloc", "luaM_malloc_", "luaM_realloc_",
    // servers and libraries
    "sqlite3_malloc", "sqlite3_malloc64", "sqlite3_realloc", "sqlite3_realloc64", "sqlite3Malloc",
    "sqlite3MallocZero", "sqlite3Realloc", "sqlite3DbMallocRaw", "sqlite3DbMallocRawNN",
    "sqlite3DbMallocZero", "sqlite3DbRealloc", "sqlite3DbStrDup", "sqlite3DbStrNDup", "sqlite3MemMalloc",
    "sqlite3MemRealloc", "ngx_alloc", "ngx_calloc", "ngx_memalign", "pg_malloc", "pg_malloc0",
    "pg_malloc_extended", "pg_realloc", "pg_strdup", "uv__malloc", "uv__calloc", "uv__realloc", "uv__strdup",
    "event_mm_malloc_", "event_mm_calloc_", "event_mm_realloc_", "event_mm_strdup_", "dbus_malloc",
    "dbus_malloc0", "dbus_realloc", "xmlMemMalloc", "xmlMemRealloc", "xmlStrdup", "xmlStrndup", "av_malloc",
    "av_mallocz", "av_calloc", "av_realloc", "av_malloc_array", "av_strdup", "av_memdup", "SDL_malloc",
    "SDL_calloc", "SDL_realloc", "SDL_strdup",
    // MariaDB and MySQL; pools, of which whoever asked tells more than the pool: PostgreSQL, APR, nginx
    "my_malloc", "my_realloc", "my_multi_malloc", "my_strdup", "my_strndup", "my_memdup", "alloc_root",
    "multi_alloc_root", "strdup_root", "strmake_root", "memdup_root", "palloc", "palloc0", "palloc_extended",
    "repalloc", "pstrdup", "pnstrdup", "psprintf", "MemoryContextAlloc", "MemoryContextAllocZero",
    "MemoryContextAllocZeroAligned", "MemoryContextAllocExtended", "MemoryContextStrdup", "AllocSetAlloc",
    "AllocSetRealloc", "allocator_alloc", "apr_allocator_alloc", "apr_palloc", "apr_pcalloc", "apr_pstrdup",
    "apr_pstrndup", "apr_pstrmemdup", "apr_pmemdup", "apr_psprintf", "apr_pvsprintf", "ngx_palloc",
    "ngx_pnalloc", "ngx_pcalloc", "ngx_palloc_block", "ngx_palloc_large"};
// clang-format on

// Where the sources of Rust's own libraries are, whatever stands before: /rustc/HASH, the rust-src component,
// a distribution's package.
constexpr std::array<std::string_view, 4> kRustLibraries = {"/library/alloc/src/", "/library/core/src/",
                                                            "/library/std/src/", "/rust/deps/"};

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

// Compilers append these to clones of a function: f.part.0, f.constprop.0.cold, f.llvm.123. And f@plt.
std::string_view without_clone_suffix(std::string_view name) {
  return name.substr(0, name.find_first_of(".@"));
}

// A class may have its own.
bool is_operator_new(std::string_view name) {
  return name.ends_with("::operator new") || name.ends_with("::operator new[]");
}

// By file, because traits of these libraries are implemented for any type, "<u8 as alloc::vec::...>::f", and
// blanket implementations, "<T as X>::f", are named alike in every crate.
bool is_rust_library(std::string_view name, std::string_view file) {
  return file.ends_with(".rs") && (starts_with_any(name, kRustPrefixes) ||
                                   std::ranges::any_of(kRustLibraries, [&](std::string_view part) {
                                     return file.find(part) != file.npos;
                                   }));
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
  if (is_operator_new(name) || is_rust_library(name, file)) return true;
  if (file.empty() && starts_with_any(name, kRustAllocPrefixes)) return true;
  return std::ranges::find(kAllocators, without_clone_suffix(name)) != std::end(kAllocators);
}

}  // namespace memtrace
