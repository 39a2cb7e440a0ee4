// Which records of two snapshots are the same block, and what was born and died between them, summed by
// stack.
//
// Same process = same session id. Then a record is known by (thread serial, sample number): one alive in both
// cancels exactly, a mapping whose size changed leaves its size difference and no count. Of two processes
// nothing cancels. Records outside live memory (reserved, file, shared) are left out.
//
// Pure; O(n log n) in the records, no strings.
#pragma once

#include <cstdint>
#include <vector>

#include "analyzer/estimate.hpp"
#include "analyzer/thread_table.hpp"
#include "format/snapshot.hpp"

namespace memtrace {

// A snapshot, and the numbers of its stacks and threads in the tables that both sides share.
struct Side {
  const Snapshot* snapshot = nullptr;
  std::vector<std::uint32_t> stacks;  // one for each of snapshot->stacks
  ThreadTable::Numbers threads;       // read only for BinBy::kStackAndThread
};

// Growth = born - died. Without matching (two processes) born = current and died = old.
struct Tallies {
  Tally old;
  Tally current;
  Tally born;  // not in the old snapshot
  Tally died;  // in the old snapshot only

  void add(const Tallies& other);
};

// The finest unit of grouping: a stack, or a stack in one thread where threads are asked for.
struct Bin {
  std::uint32_t stack = 0;
  std::uint32_t thread = 0;  // in the ThreadTable; 0 unless BinBy::kStackAndThread
  Tallies tallies;
};

struct Birth {
  std::uint32_t bin = 0;
  std::int64_t time_ns = 0;  // CLOCK_MONOTONIC of its process
  double bytes = 0;
};

struct Comparison {
  bool same_process = false;
  Sampling old_sampling;
  Sampling sampling;
  std::vector<Bin> bins;  // only stacks that have records
  Tallies totals;
  std::vector<Birth> born;  // of Tallies::born, mappings that only changed size left out
  std::vector<Birth> died;
};

enum class BinBy { kStack, kStackAndThread };

// `old` may be null: one snapshot alone, everything counts as born and the old side is known to be empty.
// `stack_count`: of the CodeIndex that numbered both sides.
[[nodiscard]] Comparison compare(const Side* old, const Side& current, std::uint32_t stack_count,
                                 BinBy bin_by);

}  // namespace memtrace
