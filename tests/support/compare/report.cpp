#include "tests/support/compare/report.hpp"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "preload/counters.hpp"
#include "tests/support/compare/compare.hpp"

namespace memtrace::compare {
namespace {

const char* name(Oracle oracle) { return oracle == Oracle::kBoost ? "boost" : "libunwind"; }
const char* name(Shape shape) {
  return shape == Shape::kTheirsEnds ? "theirs-ends" : shape == Shape::kOursEnds ? "ours-ends" : "parts";
}

void total(int fd, const char* what, std::uint64_t count) {
  dprintf(fd, "total\t%s\t%" PRIu64 "\n", what, count);
}

void frames(int fd, const char* whose, const Frame (&shown)[Difference::kShown]) {
  dprintf(fd, "\t%s", whose);
  for (const Frame& frame : shown) {
    if (frame.module[0] == '\0') break;
    const std::uint64_t where = frame.module[0] == '-' ? frame.address : frame.offset;
    dprintf(fd, " %s+0x%" PRIx64 "%s", frame.module, where, frame.has_rules ? "" : "!");
  }
}

}  // namespace

// A frame is written as module+offset, with ! behind it where libgcc finds no entry.
void report(const char* directory) {
  char path[4096];
  (void)snprintf(path, sizeof path, "%s/%s.%d.compared", directory ? directory : ".",
                 program_invocation_short_name, static_cast<int>(getpid()));
  const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return;
  total(fd, "stacks", g_totals.stacks);
  total(fd, "frames", g_totals.frames);
  total(fd, "deepest", g_totals.deepest);
  total(fd, "lost", g_totals.lost);
  total(fd, "stopped", g_counters.stopped_unwinds);
  total(fd, "guessed", g_counters.guessed_frames);
  for (std::size_t i = 0; i < kOracles; ++i) {
    dprintf(fd, "oracle\t%s\t%" PRIu64 "\t%" PRIu64 "\n", name(static_cast<Oracle>(i)),
            g_totals.equal[i].load(), g_totals.different[i].load());
  }
  for (const Difference& difference : g_differences) {
    if (!difference.complete.load(std::memory_order_acquire)) continue;
    dprintf(fd, "difference\t%s\t%s\t%" PRIu64 "\t%zu", name(difference.oracle), name(difference.shape),
            difference.count.load(), difference.common);
    frames(fd, "ours", difference.ours);
    frames(fd, "theirs", difference.theirs);
    dprintf(fd, "\n");
  }
  close(fd);
}

}  // namespace memtrace::compare
