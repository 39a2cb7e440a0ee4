#include "analyzer/compare.hpp"

#include <algorithm>
#include <future>
#include <span>
#include <unordered_map>

#include "analyzer/keyed_hash.hpp"
#include "format/huge_pages.hpp"

namespace memtrace {
namespace {

// A record's identity, and where it is. Matching sorts these: a record is three times as large.
struct Key {
  std::uint64_t number = 0;
  std::uint32_t thread = 0;
  std::uint32_t record = 0;  // index into Snapshot::records
};

bool identity_less(const Key& a, const Key& b) {
  return a.thread != b.thread ? a.thread < b.thread : a.number < b.number;
}
bool identity_equal(const Key& a, const Key& b) { return a.thread == b.thread && a.number == b.number; }

// One pass of a radix sort: stable, by the digit of `value` at `shift`.
template <class Value>
void sort_by_digit(const std::vector<Key>& from, std::vector<Key>& to, Value value, unsigned shift) {
  constexpr std::size_t kDigits = 1 << 11;
  const auto digit = [&](const Key& key) { return (value(key) >> shift) % kDigits; };
  std::vector<std::size_t> next(kDigits + 1);
  for (const auto& key : from) ++next[digit(key) + 1];
  for (std::size_t i = 0; i < kDigits; ++i) next[i + 1] += next[i];
  for (const auto& key : from) to[next[digit(key)]++] = key;
}

// Radix, because numbers and threads are small and dense: three passes where a comparing sort takes twenty.
void sort_by_identity(std::vector<Key>& keys) {
  if (std::is_sorted(keys.begin(), keys.end(), identity_less)) return;
  std::uint64_t numbers = 0;
  std::uint64_t threads = 0;
  for (const auto& key : keys) {
    numbers |= key.number;
    threads |= key.thread;
  }
  std::vector<Key> other;
  other.reserve(keys.size());
  prefer_huge_pages(other);
  other.resize(keys.size());
  const auto sort_by = [&](auto value, std::uint64_t used_bits) {
    for (unsigned shift = 0; shift < 64 && used_bits >> shift != 0; shift += 11) {
      sort_by_digit(keys, other, value, shift);
      keys.swap(other);
    }
  };
  sort_by([](const Key& key) { return key.number; }, numbers);
  sort_by([](const Key& key) { return std::uint64_t{key.thread}; }, threads);
}

// Sorted by identity.
std::vector<Key> live_keys(const Snapshot& snapshot) {
  std::vector<Key> keys;
  keys.reserve(snapshot.records.size());
  prefer_huge_pages(keys);
  for (std::uint32_t i = 0; i < snapshot.records.size(); ++i) {
    const Record& record = snapshot.records[i];
    if (counts_as_live(record.kind)) keys.push_back({record.sample_number, record.thread, i});
  }
  sort_by_identity(keys);
  return keys;
}

// One allocation: a record, or all parts of a mapping that was split, which share its identity.
struct Block {
  Key identity;
  std::uint64_t size_bytes = 0;
  std::int64_t birth_ns = 0;
  std::uint32_t stack = 0;
  AllocKind kind = AllocKind::kHeap;
};

// The blocks of one side, in the order of their keys.
class BlockReader {
 public:
  BlockReader(const Side& side, std::span<const Key> keys) : side_(side), keys_(keys) { next(); }
  [[nodiscard]] bool done() const { return done_; }
  [[nodiscard]] const Block& block() const { return block_; }

  void next() {
    done_ = at_ == keys_.size();
    if (done_) return;
    const Record& record = record_at(at_);
    block_ = {keys_[at_], record.size_bytes, record.birth_ns, side_.stacks[record.stack], record.kind};
    ++at_;
    if (block_.kind != AllocKind::kMmap) return;
    for (; at_ < keys_.size() && identity_equal(keys_[at_], block_.identity); ++at_) {
      const Record& part = record_at(at_);
      if (part.kind != AllocKind::kMmap) break;
      block_.size_bytes += part.size_bytes;
    }
  }

 private:
  // Records lie in another order: they are asked for some time ahead.
  const Record& record_at(std::size_t at) const {
    constexpr std::size_t kAhead = 16;
    const auto& records = side_.snapshot->records;
    if (at + kAhead < keys_.size()) __builtin_prefetch(&records[keys_[at + kAhead].record]);
    return records[keys_[at].record];
  }

  const Side& side_;
  std::span<const Key> keys_;
  std::size_t at_ = 0;
  Block block_;
  bool done_ = false;
};

bool same_block(const Block& a, const Block& b) {
  return identity_equal(a.identity, b.identity) && a.kind == b.kind && a.stack == b.stack &&
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
    const std::uint32_t thread = side.threads.at(block.identity.thread);
    const auto pair = (std::uint64_t{thread} << 32) | block.stack;
    const auto [found, inserted] = bin_of_pair_.try_emplace(pair, next);
    if (inserted) into_.bins.push_back({.stack = block.stack, .thread = thread, .tallies = {}});
    return found->second;
  }

  const Side* old_;
  const Side& current_;
  BinBy bin_by_;
  std::vector<std::uint32_t> bin_of_stack_;
  std::unordered_map<std::uint64_t, std::uint32_t, KeyedHash> bin_of_pair_;
  Comparison& into_;
};

void match(BlockReader& old, BlockReader& current, Accumulator& sums) {
  while (!old.done() && !current.done()) {
    const Block& before = old.block();
    const Block& now = current.block();
    if (identity_less(before.identity, now.identity)) {
      sums.old_only(before);
      old.next();
    } else if (identity_less(now.identity, before.identity)) {
      sums.current_only(now);
      current.next();
    } else {
      if (same_block(before, now)) {
        sums.in_both(before, now);
      } else {
        sums.old_only(before);
        sums.current_only(now);
      }
      old.next();
      current.next();
    }
  }
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
  auto sorting = std::async([&] { return live_keys(*current.snapshot); });
  const std::vector<Key> old_keys = old == nullptr ? std::vector<Key>() : live_keys(*old->snapshot);
  const std::vector<Key> current_keys = sorting.get();
  BlockReader now(current, current_keys);
  if (old != nullptr) {
    BlockReader before(*old, old_keys);
    if (result.same_process) match(before, now, sums);
    for (; !before.done(); before.next()) sums.old_only(before.block());
  }
  for (; !now.done(); now.next()) sums.current_only(now.block());
  for (const auto& bin : result.bins) result.totals.add(bin.tallies);
  return result;
}

}  // namespace memtrace
