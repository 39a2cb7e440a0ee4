// What a function entry is called, and text attributes in general.
//
// Every pointer libdw hands out for text is checked for its end before it is read: input is untrusted.
// Thread-safety: one thread at a time for entries of one Dwarf handle.
#pragma once

#include <elfutils/libdw.h>

#include <string>

namespace memtrace {

struct FunctionName {
  std::string
      linkage;  // mangled; empty when the compiler left it out or it is an alias like __GI___libc_malloc
  std::string plain;        // without scope and parameters
  Dwarf_Die declaration{};  // the entry that carries `plain`: its place gives the scope
};

// Follows DW_AT_abstract_origin and DW_AT_specification, a bounded number of times.
[[nodiscard]] FunctionName function_name(Dwarf_Die die);

// DW_AT_name of the entry itself; empty without one.
[[nodiscard]] std::string own_name(Dwarf_Die* die);

}  // namespace memtrace
