// Steps by rules compiled from .eh_frame, each once: one load, an add and a bounds check a frame.
//
// Safe on any stack: every word is read inside a range that the thread's stack is known to cover, each step
// moves up in it, and a signal frame, which may lead to another stack, is followed at most kMaxStacks times.
// What has no rules (generated code) is tried by its frame pointer. Integer registers only (decision 5), no
// lock, no allocation; system calls: madvise, where a stack or an address is seen for the first time.
#include <atomic>
#include <span>

#include "preload/counters.hpp"
#include "preload/sys/readable.hpp"
#include "preload/unwind/code_objects.hpp"
#include "preload/unwind/rule_cache.hpp"
#include "preload/unwind/stack_range.hpp"
#include "preload/unwind/unwinder.hpp"
#include "preload/unwind/walk_memo.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

struct CompiledUnwinder {
  RuleCache rules;
  CodeObjects objects;

  void forget_rules() {
    rules.clear();
    g_rules_generation.fetch_add(1, std::memory_order_relaxed);
  }
};
constinit CompiledUnwinder g_cfi;
constinit std::atomic<std::uint64_t> g_stamps{0};  // of memos

constexpr std::uintptr_t kWord = sizeof(std::uintptr_t);
constexpr int kMaxStacks = 8;

// Stack words belong to whoever wrote them last: no sanitizer has a say in reading them, here and where this
// is inlined.
[[gnu::always_inline, gnu::no_sanitize("address", "thread")]] inline std::uintptr_t word_at(
    std::uintptr_t at) {
  std::uintptr_t word;
  __builtin_memcpy(&word, reinterpret_cast<const void*>(at), sizeof word);  // aligned or not
  return word;
}

[[gnu::always_inline, gnu::no_sanitize("address", "thread")]] inline std::uint16_t place_at(
    std::uintptr_t at) {
  std::uint16_t place;
  __builtin_memcpy(&place, reinterpret_cast<const void*>(at), sizeof place);
  return place;
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

// What the walk of one stack has found so far.
struct Found {
  ReturnAddress* frames;
  std::size_t count = 0;
  std::size_t certain = 0;  // once a step was guessed: frames before it

  // Frames of this stack, whose objects are loaded and stay so.
  [[nodiscard]] std::span<const ReturnAddress> known(Trust trust) const {
    return {frames, trust == Trust::kFrame ? count : certain};
  }
};

// A rule is found by key: where a call returns to, or one past an instruction that a signal interrupted.
[[gnu::cold, gnu::noinline]] StepRule find_rule(std::uintptr_t key, const Walk& walk, const Found& found) {
  if (key < kPageBytes || key >> RuleCache::kAddressBits) return {};
  if (const StepRule known = g_cfi.rules.find(key); known.kind() != StepKind::kNone) return known;
  CfiTables tables;
  bool replaced = false;
  StepRule rule(StepKind::kGuess);
  switch (g_cfi.objects.find(key - 1, walk.trust, found.known(walk.trust), tables, replaced)) {
    case CodeObjects::Found::kRules:
      if (replaced) g_cfi.forget_rules();
      rule = compile_step(tables, key - 1);
      break;
    case CodeObjects::Found::kNoRules:
      if (walk.trust != Trust::kFrame) return rule;  // there may be some, to be read another time
      break;
    case CodeObjects::Found::kNothing:
      // No code at all ends the walk; what is mapped may be generated code.
      if (!sys::readable((key - 1) & ~std::uintptr_t{kPageBytes - 1})) return {};
      break;
  }
  g_cfi.rules.insert(key, rule);
  return rule;
}

enum class Step : std::uint8_t { kCaller, kInterrupted, kEnd };

[[gnu::no_sanitize("address", "thread")]] Step step_by_guess(Walk& walk) {
  const std::uintptr_t frame = walk.rbp;
  walk.trust = Trust::kGuess;
  if (frame % kWord != 0 || frame + 2 * kWord < frame || !walk.covers(frame, frame + 2 * kWord)) {
    return Step::kEnd;
  }
  if (!walk.stack.still_readable(walk.sp, frame, frame + 2 * kWord)) return Step::kEnd;
  walk.sp = frame + 2 * kWord;
  walk.rbp = word_at(frame);
  walk.pc = word_at(frame + kWord);
  const bool is_in_stack = walk.pc - walk.stack.low() < walk.stack.high() - walk.stack.low();
  return is_in_stack ? Step::kEnd : Step::kCaller;  // a word of data: no stack holds code that calls
}

// The kernel's frame: struct ucontext right above the restorer's address, at sp.
[[gnu::no_sanitize("address", "thread")]] Step step_by_signal(Walk& walk) {
  constexpr std::uintptr_t kRbp = 120;
  constexpr std::uintptr_t kRsp = 160;
  constexpr std::uintptr_t kRip = 168;
  if (++walk.stacks > kMaxStacks || !walk.covers(walk.sp, walk.sp + kRip + kWord)) return Step::kEnd;
  const std::uintptr_t sp = word_at(walk.sp + kRsp);
  walk.rbp = word_at(walk.sp + kRbp);
  walk.pc = word_at(walk.sp + kRip);
  if (sp < kPageBytes || sp >> RuleCache::kAddressBits) return Step::kEnd;
  if (sp < walk.sp || sp > walk.stack.high()) walk.stack = StackRange(sp, walk.slab, StackPointer::kClaimed);
  walk.sp = sp;
  return Step::kInterrupted;
}

// All but plain steps within a known range.
[[gnu::cold, gnu::noinline, gnu::no_sanitize("address", "thread")]] Step step_slowly(Walk& walk,
                                                                                     StepRule rule) {
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
  const std::uintptr_t saved = cfa - rule.slot_bytes();
  if (cfa < walk.sp + kWord || !walk.covers(saved, cfa)) {
    count(g_counters.stopped_unwinds);
    return Step::kEnd;
  }
  if (rule.slot() != StepRule::kKeptSlot) walk.rbp = word_at(saved);
  walk.pc = word_at(cfa - kWord);
  walk.sp = cfa;
  return Step::kCaller;
}

// A step that is none of the plain ones within the known range, and those after it as long as they lead from
// one interrupted instruction to another. False: the walk ends.
[[gnu::cold, gnu::noinline]] bool go_on(Walk& walk, StepRule rule, Found& found, std::size_t room) {
  for (;;) {
    if (rule.kind() == StepKind::kNone) {
      if (walk.pc != 0) count(g_counters.stopped_unwinds);
      return false;
    }
    found.frames[found.count++] = static_cast<ReturnAddress>(walk.pc);
    const Step step = step_slowly(walk, rule);
    if (walk.trust == Trust::kGuess && found.certain == 0) found.certain = found.count;
    if (step != Step::kInterrupted || found.count == room) return step == Step::kCaller;
    rule = find_rule(walk.pc + 1, walk, found);
  }
}

}  // namespace

bool start_cfi(PageArena& arena) {
  if (!g_cfi.rules.start(arena)) return false;
  g_cfi.objects.start();
  StackRange::note_main_stack();
  return true;
}

void refresh_unwinder() { g_cfi.forget_rules(); }

namespace {

// Notes the words that steps depend on. A saved rbp counts once a step uses it.
class Notes {
 public:
  explicit Notes(RememberedWalk& walk) : walk_(walk) {}

  [[gnu::always_inline]] void saw(std::uintptr_t at, std::uintptr_t word) {
    walk_.note(count_++, at, word);
    last_at_ = at;
  }
  [[gnu::always_inline]] void saved_rbp(std::uintptr_t at) { rbp_at_ = at; }
  [[gnu::always_inline]] void uses_rbp(std::uintptr_t rbp) {
    if (rbp_at_ == 0) {
      walk_.uses_rbp();
    } else if (rbp_at_ != noted_rbp_at_) {
      noted_rbp_at_ = rbp_at_;
      walk_.note(count_++, rbp_at_, rbp);
    }
  }
  void give_up() { count_ = RememberedWalk::kMaxWords + 1; }
  [[nodiscard]] RememberedWalk* walk() const { return walk_.complete(count_, last_at_) ? &walk_ : nullptr; }

 private:
  RememberedWalk& walk_;
  std::size_t count_ = 0;
  std::uintptr_t last_at_ = 0;  // of a return address: they lie above what was noted before
  std::uintptr_t rbp_at_ = 0;   // 0: the register's own value
  std::uintptr_t noted_rbp_at_ = 0;
};

struct NoNotes {
  void saw(std::uintptr_t, std::uintptr_t) {}
  void saved_rbp(std::uintptr_t) {}
  void uses_rbp(std::uintptr_t) {}
  void give_up() {}
};

// The registers of a walk are locals of this loop, and in memory only while it steps slowly: stored in each
// step, they would wait for their own stores.
template <class NotesOfWalk>
[[gnu::always_inline, gnu::no_sanitize("address", "thread")]] inline Captured walk_up(
    Caller caller, ReturnAddress* frames, std::size_t room, ThreadSlab* slab, NotesOfWalk& notes) {
  if (room == 0) return {};
  std::uintptr_t sp = reinterpret_cast<std::uintptr_t>(caller.cfa);
  std::uintptr_t rbp = reinterpret_cast<std::uintptr_t>(caller.frame_pointer);
  std::uintptr_t pc = word_at(sp - kWord);
  Walk walk{sp, rbp, pc, StackRange(sp, slab), slab};
  if (!walk.stack.anchored()) notes.give_up();
  notes.saw(sp - kWord, pc);
  Found found{frames};
  const RuleCache rules = g_cfi.rules;
  std::uintptr_t high = walk.stack.high();
  std::size_t count = 0;
  // Where the rule of pc is: read from the stack beside pc, not taken from it, for a shorter way to the next
  // frame.
  std::uint16_t place = RuleCache::place_of(pc);
  for (;;) {
    const std::uint64_t word = rules.at(place);
    StepRule rule(word);
    if (RuleCache::is_plain_for(word, pc)) [[likely]] {
      std::uintptr_t base = sp;
      if (rule.from_rbp()) [[unlikely]] {
        base = rbp;
        asm volatile("" : "+r"(base));  // a branch: a conditional move would make sp wait for the rule
        notes.uses_rbp(rbp);
      }
      const std::uintptr_t cfa = base + rule.offset();
      const std::uintptr_t saved = cfa - rule.slot_bytes();
      // Signed, for a cfa below slot_bytes; all others that are not above `high` are positive.
      if (cfa <= high && static_cast<std::intptr_t>(saved) >= static_cast<std::intptr_t>(sp)) [[likely]] {
        frames[count++] = static_cast<ReturnAddress>(pc);
        if (rule.slot_bytes() != kWord) notes.saved_rbp(saved);
        std::uintptr_t caller_rbp = word_at(saved);
        asm("" : "+r"(caller_rbp));  // loaded in any case: a branch here would depend on data
        rbp = rule.slot_bytes() == kWord ? rbp : caller_rbp;
        pc = word_at(cfa - kWord);
        place = place_at(cfa - kWord);
        notes.saw(cfa - kWord, pc);
        sp = cfa;
        if (count == room) break;
        continue;
      }
    }
    found.count = count;
    if (!RuleCache::is_for(word, pc)) rule = find_rule(pc, walk, found);
    if (rule.kind() != StepKind::kEnd) notes.give_up();
    walk.sp = sp;
    walk.rbp = rbp;
    walk.pc = pc;
    const bool more = go_on(walk, rule, found, room);
    count = found.count;
    if (!more || count == room) break;
    sp = walk.sp;
    rbp = walk.rbp;
    pc = walk.pc;
    place = RuleCache::place_of(pc);
    high = walk.stack.high();
  }
  const std::size_t certain = walk.trust == Trust::kFrame ? count : found.certain;
  return {static_cast<std::uint32_t>(count), static_cast<std::uint32_t>(certain)};
}

}  // namespace

Captured capture_by_cfi(Caller caller, ReturnAddress* frames, std::size_t room) {
  NoNotes notes;
  return walk_up(caller, frames, room, g_thread_slabs.of_this_thread(), notes);
}

Captured capture_and_remember(Caller caller, ReturnAddress* frames, std::size_t room, ThreadSlab& slab,
                              RememberedWalk*& remembered) {
  remembered->begin(reinterpret_cast<std::uintptr_t>(caller.cfa),
                    reinterpret_cast<std::uintptr_t>(caller.frame_pointer), slab.memo_stamp);
  Notes notes(*remembered);
  const Captured captured = walk_up(caller, frames, room, &slab, notes);
  remembered = notes.walk();
  return captured;
}

[[gnu::no_sanitize("address", "thread")]] RememberedWalk* find_remembered(Caller caller, ThreadSlab& slab,
                                                                          WalkMemo& memo, bool& holds) {
  holds = false;
  const std::uint64_t generation = g_rules_generation.load(std::memory_order_relaxed);
  if (slab.memo_generation != generation) [[unlikely]] {
    slab.memo_stamp = ++g_stamps;
    slab.memo_generation = generation;
  }
  const auto start = reinterpret_cast<std::uintptr_t>(caller.cfa);
  const auto rbp = reinterpret_cast<std::uintptr_t>(caller.frame_pointer);
  // Outside the part of the stack that is known, walks are not remembered.
  if (start <= slab.stack_low || start >= slab.stack_high) return nullptr;
  std::uint16_t& guess = memo.guess_from(start, word_at(start - kWord));
  // The two callers above tell apart what allocates through one wrapper from one depth.
  std::uintptr_t sp = start;
  std::uintptr_t bp = rbp;
  std::uintptr_t pc = word_at(start - kWord);
  std::uint64_t hash = sp;
  for (int steps = 0;; ++steps) {
    hash = (hash ^ pc) * WalkMemo::kMix;
    if (steps == 2) break;
    const std::uint64_t word = g_cfi.rules.at(RuleCache::place_of(pc));
    const StepRule rule(word);
    if (!RuleCache::is_plain_for(word, pc)) break;
    const std::uintptr_t cfa = (rule.from_rbp() ? bp : sp) + rule.offset();
    const std::uintptr_t saved = cfa - rule.slot_bytes();
    if (saved < sp || cfa > slab.stack_high || saved >= cfa) break;
    if (rule.slot_bytes() != kWord) bp = word_at(saved);
    pc = word_at(cfa - kWord);
    sp = cfa;
  }
  const WalkMemo::Place place = memo.look_up(hash, start, rbp, slab.memo_stamp, guess);
  holds = place.holds;
  return place.walk;
}

}  // namespace memtrace
