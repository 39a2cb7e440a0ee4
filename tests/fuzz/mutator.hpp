// The frame of a target's own mutator: most changes are made to the parts of the input, the others blindly.
#pragma once

#include <algorithm>

#include "tests/fuzz/input_parts.hpp"
#include "tests/fuzz/random.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace memtrace::fuzz {

// `change(parts, random)` is false where it cannot change these. Returns the new size.
template <class Change>
std::size_t mutate_parts(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned int seed,
                         Change change) {
  Random random(seed);
  auto parts = InputParts::parse({data, size});
  if (random() % 8 != 0 && change(parts, random)) {
    const auto bytes = parts.bytes();
    if (bytes.size() <= max_size) {
      std::ranges::copy(bytes, data);
      return bytes.size();
    }
  }
  return LLVMFuzzerMutate(data, size, max_size);
}

}  // namespace memtrace::fuzz
