// What two snapshots of one process are consistent with, in one word and one sentence with its numbers.
//
// Derivation. Evidence of growth: call sites whose growth passes the test of significance.hpp (adjusted for
// their number) and whose bytes grew. Without one, the interval of the total decides between shrink and flat;
// and flat with most of the old blocks replaced is churn. With evidence, the blocks born at those sites since
// the old snapshot and still alive are cut into four cohorts by birth, equally long:
//   a leak keeps every cohort: the oldest quarter is as full as the newest. With an empty newest one, or a
//     thin one on few samples, the word is not leak: saturating, or unknown where the samples cannot tell;
//   churn keeps only the newest, and few of the blocks that were alive before;
//   a filling cache takes in less and less: saturating; once it takes in nothing more, early in the process's
//   life:
//     warm-up; a burst at any other time that nobody gave back: retention.
// Two snapshots cannot prove any of these: words and thresholds are a first guess, and the sentence says so.
// Without a basis (two processes, one snapshot, too few samples) the word is unknown.
#pragma once

#include <string>
#include <string_view>

#include "analyzer/diff.hpp"

namespace memtrace {

enum class VerdictWord { kLeak, kSaturating, kChurn, kWarmUp, kRetention, kFlat, kShrink, kUnknown };

[[nodiscard]] std::string_view word(VerdictWord verdict);

struct Verdict {
  VerdictWord word = VerdictWord::kUnknown;
  std::string sentence;  // without the word and without a full stop
};

// `old` may be null: one snapshot alone.
[[nodiscard]] Verdict judge(const Growth& growth, const Snapshot* old, const Snapshot& current);

}  // namespace memtrace
