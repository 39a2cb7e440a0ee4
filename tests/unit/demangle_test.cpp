// Without this, Rust frames would end in hashes that differ between builds (so a diff would call every site
// new), C++ names would stay unreadable, and a hostile name of a few hundred bytes could fill the memory.
#include "analyzer/symbols/demangle.hpp"

#include <string>

#include "tests/support/catch.hpp"

namespace memtrace {

TEST_CASE("names that are not mangled stay as they are") {
  for (const char* name : {"", "malloc", "main", "_start", "_Z", "_R", "_Zfoo", "_RNotRust", "Z3foov"}) {
    CHECK(demangle(name) == name);
  }
}

TEST_CASE("C++ names get their scope and parameters") {
  CHECK(demangle("_ZN5Cache3putEiPKc") == "Cache::put(int, char const*)");
  CHECK(demangle("_ZN12_GLOBAL__N_16hiddenEi") == "(anonymous namespace)::hidden(int)");
  CHECK(demangle("_ZN3FooC2Ev") == "Foo::Foo()");
  CHECK(demangle("_ZN3FooC4Ev") == "Foo::Foo()");
  CHECK(demangle("_ZZ4mainENKUliE_clEi") == "main::{lambda(int)#1}::operator()(int) const");
  CHECK(demangle("_Z3fooi.cold") == "foo(int) [clone .cold]");
}

TEST_CASE("Rust legacy names lose their hash") {
  CHECK(demangle("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE") == "core::fmt::Write::write_fmt");
  CHECK(demangle("_ZN66_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$core..ops..drop..Drop$GT$"
                 "4drop17h0123456789abcdefE") == "<alloc::vec::Vec<T> as core::ops::drop::Drop>::drop");
  CHECK(demangle("_ZN5alloc5alloc5alloc17h0123456789abcdefE.llvm.1234567890") == "alloc::alloc::alloc");
}

TEST_CASE("Rust v0 names are demangled") {
  CHECK(demangle("_RNvCs4fqI2P2rA04_13memtrace_demo4main") == "memtrace_demo::main");
  CHECK(demangle("_RNvMs_Cs4fqI2P2rA04_4cratNtB4_5Cache3put") == "<crat::Cache>::put");
}

TEST_CASE("long template names are demangled") {
  std::string mangled = "_ZN";
  std::string wanted;
  for (int i = 0; i < 300; ++i) {
    mangled += "4Abcd";
    wanted += "Abcd::";
  }
  CHECK(demangle(mangled + "3fooEv") == wanted + "foo()");
}

TEST_CASE("hostile names end quickly") {
  // Each pair refers twice to the one before: the text doubles with every twenty bytes.
  std::string doubling = "_Z1fSt4pairIiiE";
  std::string last = "S0_";
  const std::string digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  for (std::size_t i = 0; i < 34; ++i) {
    doubling += "S_I" + last + last + "E";
    last = std::string("S") + digits[i + 1] + "_";
  }
  CHECK(demangle(doubling) == doubling);

  for (const char* part :
       {"P", "F", "N", "I", "X", "T", "S", "D", "K", "Z", "_", "1a", "St", "L", "E", "Cv", "dT"}) {
    std::string repeated;
    while (repeated.size() < 8000) repeated += part;
    CHECK(!demangle("_Z1f" + repeated).empty());
    CHECK(!demangle("_Z" + repeated).empty());
    CHECK(!demangle("_R" + repeated).empty());
    CHECK(!demangle("_RN" + repeated).empty());
  }
}

}  // namespace memtrace
