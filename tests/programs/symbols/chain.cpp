// Functions with known names and known inlining. A line is found by the marker `@name` in its comment.
#include "chain.hpp"

#include "include/deep.hpp"

namespace victim {

[[gnu::always_inline]] inline void leaf(int x) {
  if (x > 0) PROBE("leaf");  // @leaf
}

[[gnu::always_inline]] static inline void middle(int x) {
  leaf(x + 1);  // @middle
}

[[gnu::noinline]] void outer(int x) {
  middle(x);  // @outer
}

[[gnu::noinline]] void uses_header(int x) {
  in_header(x);  // @uses_header
}

namespace {

[[gnu::noinline]] void hidden(int x) {
  if (x > 0) PROBE("hidden");  // @hidden
}

[[gnu::always_inline]] inline void hidden_inline(int x) {
  if (x > 0) PROBE("hidden_inline");  // @hidden_inline
}

}  // namespace

struct Cache {
  [[gnu::noinline]] void put(int x, const char* key);
  template <class T>
  [[gnu::noinline]] T get(T x) {
    PROBE("method_template");  // @method_template
    return x;
  }
};

void Cache::put(int x, const char*) {
  if (x > 0) PROBE("method");  // @method
  hidden_inline(x);            // @calls_hidden_inline
}

[[gnu::noinline]] void with_lambda(int x) {
  const auto inner = [x]() __attribute__((noinline)) {
    if (x > 0) PROBE("lambda");  // @lambda
  };
  inner();
}

}  // namespace victim

extern "C" [[gnu::noinline]] void plain_c_name(int x) {
  if (x > 0) PROBE("c_name");  // @c_name
}

extern "C" void run_victim(int x) {
  victim::Cache cache;
  victim::outer(x);
  victim::uses_header(x);
  victim::hidden(x);
  cache.put(x, "key");
  cache.get(static_cast<long>(x));
  victim::with_lambda(x);
  plain_c_name(x);
}
