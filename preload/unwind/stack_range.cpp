#include "preload/unwind/stack_range.hpp"

#include <sys/auxv.h>

#include "preload/sys/page_arena.hpp"
#include "preload/sys/readable.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

constexpr std::uintptr_t kPageMask = ~std::uintptr_t{kPageBytes - 1};
// Deeper than this below a thread's control block is not taken for its stack: pages in use in between are
// made readable one by one, and a gigabyte of them would take its time.
constexpr std::uintptr_t kMaxDepth = std::uintptr_t{64} << 20;
constexpr std::uintptr_t kMaxExtension = std::uintptr_t{1} << 20;

constinit const ThreadState* g_main_thread = nullptr;
constinit std::uintptr_t g_main_stack_top = 0;

std::uintptr_t anchor_of_this_thread() {
  if (&t_state == g_main_thread) return g_main_stack_top;
  return reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer());
}

}  // namespace

void StackRange::note_main_stack() {
  // The name of the executed file is the last thing on the first stack, but for a word of zeros.
  const auto name = reinterpret_cast<std::uintptr_t>(getauxval(AT_EXECFN));
  if (name == 0) return;
  g_main_stack_top = (name & kPageMask) + kPageBytes;
  g_main_thread = &t_state;
}

bool StackRange::find_anchored(std::uintptr_t sp, ThreadSlab& slab, StackPointer known) {
  if (slab.stack_high == 0) {
    const std::uintptr_t anchor = anchor_of_this_thread();
    slab.stack_low = anchor;
    slab.stack_high = anchor;
  }
  if (sp >= slab.stack_low || slab.stack_low - sp > kMaxDepth) return false;
  const std::uintptr_t low = (sp - 1) & kPageMask;
  const std::uintptr_t end = slab.stack_low & kPageMask;
  const bool in_use = known == StackPointer::kInUse;
  // No library maps anything within the gap that the kernel keeps below the main stack: what lies between a
  // place in use and its top is stack.
  const bool is_main = slab.stack_high == g_main_stack_top;
  if (!(is_main && in_use) && low < end && !sys::readable(low, end - low)) return false;
  if (in_use) slab.stack_low = low;  // a claim may be false
  low_ = low;
  high_ = slab.stack_high;
  return true;
}

void StackRange::find(std::uintptr_t sp, ThreadSlab* slab, StackPointer known) {
  if (slab && find_anchored(sp, *slab, known)) return;
  anchored_ = false;
  if (known == StackPointer::kInUse) {
    low_ = (sp - 1) & kPageMask;  // a return address lies right below
    high_ = low_ + kPageBytes;
  } else {
    low_ = high_ = sp & kPageMask;  // nothing, until it is asked for
  }
}

bool StackRange::still_readable(std::uintptr_t known, std::uintptr_t from, std::uintptr_t to) const {
  const std::uintptr_t first = from & kPageMask;
  const std::uintptr_t last = (to - 1) & kPageMask;
  const std::uintptr_t read = (known - 1) & kPageMask;
  if (last == read) return true;
  if (sys::readable(first, last + kPageBytes - first)) return true;
  // A kernel that cannot even say it of that one: the main stack is taken to be whole, for it has no
  // neighbours.
  return high_ == g_main_stack_top && !sys::readable(read);
}

bool StackRange::extend(std::uintptr_t end) {
  if (anchored_ || end <= high_ || end - high_ > kMaxExtension) return false;
  const std::uintptr_t high = (end + kPageBytes - 1) & kPageMask;
  if (!sys::readable(high_, high - high_)) return false;
  high_ = high;
  return true;
}

}  // namespace memtrace
