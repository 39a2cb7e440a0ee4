// The snapshot in tests/data/v1.snap: every field has a value of its own.
#pragma once

#include "format/snapshot.hpp"

namespace memtrace::test {

[[nodiscard]] Snapshot golden_snapshot();

}  // namespace memtrace::test
