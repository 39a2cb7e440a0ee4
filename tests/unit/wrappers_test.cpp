// Would break: a report whose every row is new_allocator.h, or one that blames the caller of the culprit.
#include "analyzer/wrappers.hpp"

#include "tests/support/catch.hpp"

using namespace memtrace;

TEST_CASE("the qualified name is found among return types, templates and parameters") {
  CHECK(qualified_name("main") == "main");
  CHECK(qualified_name("Cache::put(std::string const&)") == "Cache::put");
  CHECK(qualified_name("void std::vector<int, A<int> >::f<long>(int&&)") ==
        "std::vector<int, A<int> >::f<long>");
  CHECK(qualified_name("operator new(unsigned long)") == "operator new");
  CHECK(qualified_name("Foo::operator()(int) const") == "Foo::operator()");
  CHECK(qualified_name("std::ostream& operator<<(std::ostream&, X)") == "operator<<");
  CHECK(qualified_name("(anonymous namespace)::leak(int)") == "(anonymous namespace)::leak");
  CHECK(qualified_name("a::(anonymous namespace)::leak(int)") == "a::(anonymous namespace)::leak");
  CHECK(qualified_name("<alloc::vec::Vec<T> as core::clone::Clone>::clone") ==
        "<alloc::vec::Vec<T> as core::clone::Clone>::clone");
  CHECK(qualified_name("") == "");
}

TEST_CASE("names of library functions are cut to what a reader needs") {
  CHECK(without_arguments("void std::map<int, X<int> >::f<long>(int)") == "std::map<...>::f<...>");
  CHECK(without_arguments("operator new(unsigned long)") == "operator new");
  CHECK(without_arguments("std::map<int, X>::operator[](int const&)") == "std::map<...>::operator[]");
  CHECK(without_arguments("std::ostream& operator<< <char>(std::ostream&)") == "operator<< <char>");
  CHECK(without_arguments("<alloc::vec::Vec<T> as core::clone::Clone>::clone") ==
        "<alloc::vec::Vec<T> as core::clone::Clone>::clone");
  CHECK(without_arguments("malloc") == "malloc");
}

TEST_CASE("allocators and containers are wrappers") {
  const auto function = GENERATE(
      as<std::string>{}, "malloc", "__libc_malloc", "calloc", "posix_memalign", "xmalloc", "g_malloc0",
      "g_strdup", "zmalloc", "CRYPTO_malloc", "PyMem_RawMalloc", "strdup", "operator new(unsigned long)",
      "operator new[](unsigned long)",
      "std::__cxx11::basic_string<char>::_M_create(unsigned long&, unsigned long)",
      "void std::vector<X>::_M_realloc_insert<X const&>(int)",
      "__gnu_cxx::new_allocator<X>::allocate(unsigned long, void const*)",
      "std::_MakeUniq<X>::__single_object std::make_unique<X>()", "xrealloc.part.0", "malloc@plt",
      "Shape::operator new(unsigned long)", "shop::Shape::operator new[](unsigned long)", "zmalloc_usable",
      "ztrymalloc_usable", "_PyObject_Malloc", "xmallocz", "__rust_alloc", "my_malloc", "alloc_root",
      "AllocSetAlloc", "apr_palloc", "ngx_palloc", "alloc::raw_vec::RawVec<T,A>::grow_amortized");
  CAPTURE(function);
  CHECK(is_wrapper(function, "", "/srv/app"));
}

TEST_CASE("the program's own functions are none") {
  const auto function =
      GENERATE(as<std::string>{}, "main", "Cache::put(std::string const&)", "malloc_stats_print",
               "my_pool_malloc", "session_strdup", "Malloc", "pool_zalloc", "shop::malloc(unsigned long)",
               "frame_memdup.part.0", "exchange_malloc_stats", "Shape::operator newish()",
               "f(std::vector<int>)", "core::Engine::start()", "alloc_buffers", "std_::f()",
               "(anonymous namespace)::leak(int)", "main::{lambda()#1}::operator()() const");
  CAPTURE(function);
  CHECK_FALSE(is_wrapper(function, "/src/app.cc", "/srv/app"));
}

TEST_CASE("Rust's core is known by its files, so that a C++ namespace of that name is not") {
  CHECK(is_wrapper("core::ops::function::FnOnce::call_once", "/rustc/1/library/core/src/ops/function.rs",
                   "/srv/app"));
  CHECK(is_wrapper("<alloc::vec::Vec<T> as core::clone::Clone>::clone",
                   "/rustc/1/library/alloc/src/vec/mod.rs", "/a"));
  for (const std::string root :
       {"/rustc/59807616e1fa", "/usr/src/rustc-1.63.0", "/opt/rustup/lib/rustlib/src/rust"}) {
    CAPTURE(root);
    CHECK(is_wrapper("<u8 as alloc::vec::spec_from_elem::SpecFromElem>::from_elem",
                     root + "/library/alloc/src/vec/spec_from_elem.rs", "/srv/app"));
    CHECK(is_wrapper("<str as alloc::borrow::ToOwned>::to_owned", root + "/library/alloc/src/str.rs", "/a"));
  }
  CHECK_FALSE(is_wrapper("shop::cart::add", "/src/cart.rs", "/srv/app"));
  CHECK_FALSE(is_wrapper("<u8 as shop::Price>::of", "/src/library/shop/src/price.rs", "/srv/app"));
  CHECK_FALSE(is_wrapper("<shop::Cart as core::clone::Clone>::clone", "/src/cart.rs", "/srv/app"));
  CHECK(is_wrapper("<T as core::convert::Into<U>>::into", "/rustc/1/library/core/src/convert/mod.rs", "/a"));
  CHECK_FALSE(is_wrapper("<T as shop::Discount>::apply", "/src/cart.rs", "/srv/app"));
}

TEST_CASE("all of the C and C++ libraries and of allocators is passed over") {
  CHECK(is_wrapper("", "", "/lib/x86_64-linux-gnu/libc.so.6"));
  CHECK(is_wrapper("fopen64", "", "/lib/x86_64-linux-gnu/libc.so.6"));
  CHECK(is_wrapper("", "", "/usr/lib/libjemalloc.so.2"));
  CHECK_FALSE(is_wrapper("", "", "/usr/lib/libcurl.so.4"));
  CHECK_FALSE(is_wrapper("", "", "/srv/libcache.so"));
}

TEST_CASE("HotSpot's own allocators are passed over in libjvm.so alone") {
  CHECK(is_wrapper("os::malloc(unsigned long, MEMFLAGS)", "", "/usr/lib/jvm/lib/server/libjvm.so"));
  CHECK(is_wrapper("AllocateHeap(unsigned long, MEMFLAGS)", "", "/usr/lib/jvm/lib/server/libjvm.so"));
  CHECK_FALSE(is_wrapper("Unsafe_AllocateMemory0", "", "/usr/lib/jvm/lib/server/libjvm.so"));
  CHECK_FALSE(is_wrapper("os::commit_memory(char*)", "", "/srv/app"));
}
