// A function that is always inlined, from another directory than its caller.
#pragma once

#include "../chain.hpp"

namespace victim {

[[gnu::always_inline]] inline void in_header(int depth) {
  if (depth > 0) PROBE("in_header");  // @in_header
}

}  // namespace victim
