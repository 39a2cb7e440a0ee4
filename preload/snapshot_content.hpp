// Turns the tracker's tables into the messages of one snapshot.
//
// Called by: snapshotter, on its thread. Shard by shard under the shard's lock; everything else without
// locks. Memory: transient pages, given back before it returns.
#pragma once

#include "format/snapshot_writer.hpp"
#include "preload/modules.hpp"

namespace memtrace {

// Everything but process, trigger, clocks and sampling. 0 or an errno value; errors of the writer stay in the
// writer. `modules` was refreshed.
[[nodiscard]] int write_content(SnapshotWriter& writer, const Modules& modules);

}  // namespace memtrace
