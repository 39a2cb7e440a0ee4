// Changes a decoded snapshot into another that the writer can write and the reader must read.
//
// For fuzzers: what they change in bytes is mostly refused by the reader and tells nothing about what comes
// after it.
#pragma once

#include "format/snapshot.hpp"
#include "tests/fuzz/random.hpp"

namespace memtrace::fuzz {

// One change or a few. `other` is what records, stacks and modules may be taken from: the other side of a
// pair.
void mutate(Snapshot& snapshot, const Snapshot& other, Random& random);

}  // namespace memtrace::fuzz
