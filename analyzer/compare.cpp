#include "analyzer/compare.hpp"

#include <algorithm>
#include <future>
#include <span>
#include <unordered_map>

namespace memtrace {
namespace {

// What of a record matters here. Matching sorts these, so they are small and hold no pointers.
struct Block {
  std::uint64_t number = 0;
  std::uint64_t size_bytes = 0;
  std::int64_t birth_ns = 0;
  std::uint32_t thread = 0;
  std::uint32_t stack = 0;
  AllocKind kind = AllocKind::kHeap;
};

bool identity_less(const Block& a, const Block& b) {
  return a.thread != b.thread ? a.thread < b.thread : a.number < b.number;
}
bool identity_equal(const Block& a, const Block& b) { return a.thread == b.thread && a.number == b.number; }

// One pass of a radix sort: stable, by the digit of `key` at `shift`.
template <class Key>
void sort_by_digit(const std::vector<Block>& from, std::vector<Block>& to, Key key, unsigned shift) {
  constexpr std::size_t kDigits = 1 << 11;
  const auto digit = [&](const Block& block) { return (key(block) >> shift) % kDigits; };
  std::vector<std::size_t> next(kDigits + 1);
  for (const auto& block : from) ++next[digit(block) + 1];
  for (std::size_t i = 0; i < kDigits; ++i) next[i + 1] += next[i];
  for (const auto& block : from) to[next[digit(block)]++] = block;
}

// Radix, because numbers and threads are small and dense: three passes where a comparing sort takes twenty.
void sort_by_identity(std::vector<Block>& blocks) {
  if (std::is_sorted(blocks.begin(), blocks.end(), identity_less)) return;
  std::uint64_t numbers = 0;
  std::uint64_t threads = 0;
  for (const auto& block : blocks) {
    numbers |= block.number;
    threads |= block.thread;
  }
  std::vector<Block> other(blocks.size());
  const auto sort_by = [&](auto key, std::uint64_t used_bits) {
    for (unsigned shift = 0; shift < 64 && used_bits >> shift != 0; shift += 11) {
      sort_by_digit(blocks, other, key, shift);
      blocks.swap(other);
    }
  };
  sort_by([](const Block& block) { return block.number; }, numbers);
  sort_by([](const Block& block) { return std::uint64_t{block.thread}; }, threads);
}

// The parts of a split mapping share its identity and are one allocation.
void join_split_mappings(std::vector<Block>& sorted) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    if (kept > 0) {
      auto& last = sorted[kept - 1];
      if (identity_equal(last, sorted[i]) && last.kind == AllocKind::kMmap &&
          sorted[i].kind == AllocKind::kMmap) {
        last.size_bytes += sorted[i].size_bytes;
        continue;
      }
    }
    sorted[kept++] = sorted[i];
  }
  sorted.resize(kept);
}

// Sorted by identity.
std::vector<Block> live_blocks(const Side& side) {
  std::vector<Block> blocks;
  blocks.reserve(side.snapshot->records.size());
  for (const auto& record : side.snapshot->records) {
    if (!counts_as_live(record.kind)) continue;
    blocks.push_back({record.sample_number, record.size_bytes, record.birth_ns, record.thread,
                      side.stacks[record.stack], record.kind});
  }
  sort_by_identity(blocks);
  join_split_mappings(blocks);
  return blocks;
}

bool same_block(const Block& a, const Block& b) {
  return identity_equal(a, b) && a.kind == b.kind && a.stack == b.stack &&
         (a.size_bytes == b.size_bytes || a.kind == AllocKind::kMmap);
}

class Accumulator {
 public:
  Accumulator(const Side* old, const Side& current, std::uint32_t stack_count, BinBy bin_by, Comparison& into)
      : old_(old), current_(current), bin_by_(bin_by), bin_of_stack_(stack_count, kNone), into_(into) {}

  void old_only(const Block& block) {
    const auto bin = bin_of(block, *old_);
    const Weight weight = weigh(block.size_bytes, block.kind, into_.old_sampling);
    into_.bins[bin].tallies.old.add(weight);
    into_.bins[bin].tallies.died.add(weight);
    into_.died.push_back({bin, block.birth_ns, weight.bytes});
  }

  void current_only(const Block& block) {
    const auto bin = bin_of(block, current_);
    const Weight weight = weigh(block.size_bytes, block.kind, into_.sampling);
    into_.bins[bin].tallies.current.add(weight);
    into_.bins[bin].tallies.born.add(weight);
    into_.born.push_back({bin, block.birth_ns, weight.bytes});
  }

  void in_both(const Block& before, const Block& now) {
    auto& tallies = into_.bins[bin_of(now, current_)].tallies;
    tallies.old.add(weigh(before.size_bytes, before.kind, into_.old_sampling));
    tallies.current.add(weigh(now.size_bytes, now.kind, into_.sampling));
    if (now.size_bytes > before.size_bytes) {
      tallies.born.bytes += static_cast<double>(now.size_bytes - before.size_bytes);
    } else {
      tallies.died.bytes += static_cast<double>(before.size_bytes - now.size_bytes);
    }
  }

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  std::uint32_t bin_of(const Block& block, const Side& side) {
    const auto next = static_cast<std::uint32_t>(into_.bins.size());
    if (bin_by_ == BinBy::kStack) {
      auto& bin = bin_of_stack_[block.stack];
      if (bin == kNone) {
        bin = next;
        into_.bins.push_back({.stack = block.stack, .thread = 0, .tallies = {}});
      }
      return bin;
    }
    const std::uint32_t thread = side.threads.at(block.thread);
    const auto pair = (std::uint64_t{thread} << 32) | block.stack;
    const auto [found, inserted] = bin_of_pair_.try_emplace(pair, next);
    if (inserted) into_.bins.push_back({.stack = block.stack, .thread = thread, .tallies = {}});
    return found->second;
  }

  const Side* old_;
  const Side& current_;
  BinBy bin_by_;
  std::vector<std::uint32_t> bin_of_stack_;
  std::unordered_map<std::uint64_t, std::uint32_t> bin_of_pair_;
  Comparison& into_;
};

void match(std::span<const Block> old, std::span<const Block> current, Accumulator& sums) {
  std::size_t a = 0;
  std::size_t b = 0;
  while (a < old.size() && b < current.size()) {
    if (identity_less(old[a], current[b])) {
      sums.old_only(old[a++]);
    } else if (identity_less(current[b], old[a])) {
      sums.current_only(current[b++]);
    } else if (same_block(old[a], current[b])) {
      sums.in_both(old[a++], current[b++]);
    } else {
      sums.old_only(old[a++]);
      sums.current_only(current[b++]);
    }
  }
  for (; a < old.size(); ++a) sums.old_only(old[a]);
  for (; b < current.size(); ++b) sums.current_only(current[b]);
}

}  // namespace

void Tallies::add(const Tallies& other) {
  old.add(other.old);
  current.add(other.current);
  born.add(other.born);
  died.add(other.died);
}

Comparison compare(const Side* old, const Side& current, std::uint32_t stack_count, BinBy bin_by) {
  Comparison result;
  result.sampling = sampling_of(*current.snapshot);
  if (old != nullptr) {
    result.old_sampling = sampling_of(*old->snapshot);
    result.same_process = old->snapshot->session == current.snapshot->session;
  }
  Accumulator sums(old, current, stack_count, bin_by, result);
  auto sorting = std::async([&] { return live_blocks(current); });
  const std::vector<Block> before = old == nullptr ? std::vector<Block>() : live_blocks(*old);
  const std::vector<Block> now = sorting.get();
  if (result.same_process) {
    match(before, now, sums);
  } else {
    for (const auto& block : before) sums.old_only(block);
    for (const auto& block : now) sums.current_only(block);
  }
  for (const auto& bin : result.bins) result.totals.add(bin.tallies);
  return result;
}

}  // namespace memtrace
