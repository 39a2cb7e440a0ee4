// Steps by rules compiled from .eh_frame, each once: one load, an add and a bounds check a frame.
//
// Safe on any stack: every word is read inside a range that the thread's stack is known to cover, each step
// moves up in it, and a signal frame, which may lead to another stack, is followed at most kMaxStacks times.
// What has no rules (generated code) is tried by its frame pointer. Integer registers only (decision 5), no
// lock, no allocation; system calls: madvise, where a stack or an address is seen for the first time.
#include <span>

#include "preload/counters.hpp"
#include "preload/sys/readable.hpp"
#include "preload/unwind/code_objects.hpp"
#include "preload/unwind/rule_cache.hpp"
#include "preload/unwind/stack_range.hpp"
#include "preload/unwind/unwinder.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

struct CompiledUnwinder {
  RuleCache rules;
  CodeObjects objects;
  ThreadSlabs slabs;
};
constinit CompiledUnwinder g_cfi;

constexpr std::uintptr_t kWord = sizeof(std::uintptr_t);
constexpr int kMaxStacks = 8;

// Stack words belong to whoever wrote them last: no sanitizer has a say in reading them.
[[gnu::always_inline, gnu::no_sanitize("address", "thread")]] inline std::uintptr_t word_at(
    std::uintptr_t at) {
  return *reinterpret_cast<const std::uintptr_t*>(at);
}

using Frames = std::span<const ReturnAddress>;

// A rule is found by key: where a call returns to, or one past an instruction that a signal interrupted.
// `certain`: frames of this stack, whose objects are loaded and stay so.
[[gnu::cold, gnu::noinline]] StepRule find_rule(std::uintptr_t key, Trust trust, Frames certain) {
  if (key < kPageBytes || key >> RuleCache::kAddressBits) return {};
  if (const StepRule known = g_cfi.rules.find(key); known.kind() != StepKind::kNone) return known;
  CfiTables tables;
  bool replaced = false;
  StepRule rule(StepKind::kGuess);
  switch (g_cfi.objects.find(key - 1, trust, certain, tables, replaced)) {
    case CodeObjects::Found::kRules:
      if (replaced) g_cfi.rules.clear();
      rule = compile_step(tables, key - 1);
      break;
    case CodeObjects::Found::kNoRules:
      if (trust != Trust::kFrame) return rule;  // there may be some, to be read another time
      break;
    case CodeObjects::Found::kNothing:
      // No code at all ends the walk; what is mapped may be generated code.
      if (!sys::readable((key - 1) & ~std::uintptr_t{kPageBytes - 1})) return {};
      break;
  }
  g_cfi.rules.insert(key, rule);
  return rule;
}

struct Walk {
  std::uintptr_t sp;  // the frame's, once the call returns
  std::uintptr_t rbp;
  std::uintptr_t pc;
  StackRange stack;
  ThreadSlab* slab;
  Trust trust = Trust::kFrame;
  int stacks = 1;

  // Words in [from, to) of the caller's part of the stack can be read.
  [[nodiscard]] bool covers(std::uintptr_t from, std::uintptr_t to) {
    return from >= sp && to > from && (to <= stack.high() || stack.extend(to));
  }
};

enum class Step : std::uint8_t { kCaller, kInterrupted, kEnd };

Step step_by_guess(Walk& walk) {
  const std::uintptr_t frame = walk.rbp;
  walk.trust = Trust::kGuess;
  if (frame % kWord != 0 || frame + 2 * kWord < frame || !walk.covers(frame, frame + 2 * kWord)) {
    return Step::kEnd;
  }
  walk.sp = frame + 2 * kWord;
  walk.rbp = word_at(frame);
  walk.pc = word_at(frame + kWord);
  return Step::kCaller;
}

// The kernel's frame: struct ucontext right above the restorer's address, at sp.
Step step_by_signal(Walk& walk) {
  constexpr std::uintptr_t kRbp = 120;
  constexpr std::uintptr_t kRsp = 160;
  constexpr std::uintptr_t kRip = 168;
  if (++walk.stacks > kMaxStacks || !walk.covers(walk.sp, walk.sp + kRip + kWord)) return Step::kEnd;
  const std::uintptr_t sp = word_at(walk.sp + kRsp);
  walk.rbp = word_at(walk.sp + kRbp);
  walk.pc = word_at(walk.sp + kRip);
  if (sp < kPageBytes || sp >> RuleCache::kAddressBits) return Step::kEnd;
  if (sp < walk.sp || sp > walk.stack.high()) walk.stack = StackRange(sp, walk.slab);
  walk.sp = sp;
  return Step::kInterrupted;
}

// All but plain steps within a known range.
[[gnu::cold, gnu::noinline]] Step step_slowly(Walk& walk, StepRule rule) {
  std::uintptr_t cfa = 0;
  switch (rule.kind()) {
    case StepKind::kRsp:
      cfa = walk.sp + rule.offset();
      break;
    case StepKind::kRbp:
      cfa = walk.rbp + rule.offset();
      break;
    case StepKind::kRspAt: {
      const std::uintptr_t at = walk.sp + rule.offset();
      if (!walk.covers(at, at + kWord)) return Step::kEnd;
      cfa = word_at(at) + kWord;
      break;
    }
    case StepKind::kRbpAt: {
      const std::uintptr_t rbp = walk.rbp;
      const std::uintptr_t at = rbp + static_cast<std::uintptr_t>(rule.signed_offset());
      if (!walk.covers(at, at + kWord) || !walk.covers(rbp, rbp + kWord)) return Step::kEnd;
      cfa = word_at(at);
      walk.rbp = word_at(rbp);
      break;
    }
    case StepKind::kGuess:
      count(g_counters.guessed_frames);
      return step_by_guess(walk);
    case StepKind::kSignal:
      return step_by_signal(walk);
    case StepKind::kEnd:
    case StepKind::kNone:
      return Step::kEnd;
  }
  const std::uintptr_t saved = cfa - kWord * rule.slot();
  if (cfa < walk.sp + kWord || !walk.covers(saved, cfa)) {
    count(g_counters.stopped_unwinds);
    return Step::kEnd;
  }
  if (rule.slot() != StepRule::kKeptSlot) walk.rbp = word_at(saved);
  walk.pc = word_at(cfa - kWord);
  walk.sp = cfa;
  return Step::kCaller;
}

}  // namespace

bool start_cfi(PageArena& arena) {
  if (!g_cfi.rules.start(arena)) return false;
  g_cfi.objects.start();
  StackRange::note_main_stack();
  return true;
}

void refresh_unwinder() { g_cfi.rules.clear(); }

[[gnu::no_sanitize("address", "thread")]] Captured capture_by_cfi(Caller caller, ReturnAddress* frames,
                                                                  std::size_t room) {
  if (room == 0) return {};
  const auto start = reinterpret_cast<std::uintptr_t>(caller.cfa);
  ThreadSlab* const slab = g_cfi.slabs.of_this_thread();
  Walk walk{start, reinterpret_cast<std::uintptr_t>(caller.frame_pointer), word_at(start - kWord),
            StackRange(start, slab), slab};
  std::size_t count_of_frames = 0;
  std::size_t certain = 0;
  std::uintptr_t key = walk.pc;
  while (count_of_frames < room) {
    const std::uint64_t word = g_cfi.rules.first(key);
    StepRule rule(word);
    if (!RuleCache::is_for(word, key)) [[unlikely]] {
      const std::size_t known = walk.trust == Trust::kFrame ? count_of_frames : certain;
      rule = find_rule(key, walk.trust, {frames, known});
    }
    if (rule.is_plain()) [[likely]] {
      frames[count_of_frames++] = static_cast<ReturnAddress>(walk.pc);
      const std::uintptr_t cfa = (rule.from_rbp() ? walk.rbp : walk.sp) + rule.offset();
      const std::uintptr_t saved = cfa - kWord * rule.slot();
      if (saved >= walk.sp && cfa <= walk.stack.high() && saved < cfa) [[likely]] {
        const std::uintptr_t rbp = word_at(saved);
        walk.pc = word_at(cfa - kWord);
        walk.rbp = rule.slot() == StepRule::kKeptSlot ? walk.rbp : rbp;
        walk.sp = cfa;
        key = walk.pc;
        continue;
      }
    } else if (rule.kind() == StepKind::kNone) {
      if (walk.pc != 0) count(g_counters.stopped_unwinds);
      break;
    } else {
      frames[count_of_frames++] = static_cast<ReturnAddress>(walk.pc);
    }
    const Step step = step_slowly(walk, rule);
    if (walk.trust == Trust::kGuess && certain == 0) certain = count_of_frames;
    if (step == Step::kEnd) break;
    key = step == Step::kInterrupted ? walk.pc + 1 : walk.pc;
  }
  if (walk.trust == Trust::kFrame) certain = count_of_frames;
  return {static_cast<std::uint32_t>(count_of_frames), static_cast<std::uint32_t>(certain)};
}

}  // namespace memtrace
