#include "tests/support/compare/compare.hpp"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "preload/sys/find_object.hpp"
#include "preload/thread_state.hpp"

namespace memtrace {

constinit thread_local ThreadState t_state [[gnu::tls_model("initial-exec")]];

namespace compare {

constinit Totals g_totals;
constinit Difference g_differences[kDifferences];

namespace {

constinit PageArena g_arena;
constinit CaptureFunction g_oracles[kOracles];

// Entries of libgcc's own lookup: an opinion of whether an address has rules that is not ours.
struct Bases {
  void* text;
  void* data;
  void* function;
};
using FindEntry = const void* (*)(void* address, Bases* bases);
constinit FindEntry g_find_entry = nullptr;

// The stacks of programs may be small.
struct Buffers {
  std::atomic<bool> taken{false};
  ReturnAddress ours[kRoom];
  ReturnAddress theirs[kRoom + kOwnFrames];
};
constinit Buffers g_buffers[64];

Buffers* take_buffers() {
  for (Buffers& buffers : g_buffers) {
    if (!buffers.taken.exchange(true, std::memory_order_acquire)) return &buffers;
  }
  return nullptr;
}

Frame describe(ReturnAddress address) {
  Frame frame;
  frame.address = value(address);
  Bases bases;
  frame.has_rules = g_find_entry(reinterpret_cast<void*>(frame.address - 1), &bases) != nullptr ||
                    g_find_entry(reinterpret_cast<void*>(frame.address), &bases) != nullptr;
  sys::LoadedObject object;
  if (!sys::find_object(frame.address - 1, object)) {
    strcpy(frame.module, "-");
    return frame;
  }
  frame.offset = frame.address - object.map->l_addr;
  const char* path = object.map->l_name;
  strncpy(frame.module, path[0] != '\0' ? path : "program", kPathBytes - 1);
  return frame;
}

void describe(Frame (&out)[Difference::kShown], const ReturnAddress* frames, std::size_t count,
              std::size_t from) {
  for (std::size_t i = 0; i < Difference::kShown && from + i < count; ++i)
    out[i] = describe(frames[from + i]);
}

void note(Oracle oracle, const ReturnAddress* ours, std::size_t our_count, const ReturnAddress* theirs,
          std::size_t their_count, std::size_t common) {
  const Shape shape = common == their_count ? Shape::kTheirsEnds
                      : common == our_count ? Shape::kOursEnds
                                            : Shape::kParts;
  const std::size_t last = common == 0 ? 0 : common - 1;
  std::uint64_t key = value(ours[last]) * 0x9e3779b97f4a7c15;
  key += (static_cast<std::uint64_t>(oracle) * 4 + static_cast<std::uint64_t>(shape) + 1);
  for (std::size_t probes = 0; probes < kDifferences; ++probes) {
    Difference& slot = g_differences[(key + probes) % kDifferences];
    std::uint64_t seen = slot.key.load();
    if (seen != key && (seen != 0 || !slot.key.compare_exchange_strong(seen, key))) {
      if (seen != key) continue;
    }
    slot.count.fetch_add(1);
    if (seen != 0) return;
    slot.oracle = oracle;
    slot.shape = shape;
    slot.common = common;
    const std::size_t shown_from = last == 0 ? 0 : last - 1;
    describe(slot.ours, ours, our_count, shown_from);
    describe(slot.theirs, theirs, their_count, shown_from);
    slot.complete.store(true, std::memory_order_release);
    return;
  }
  g_totals.lost.fetch_add(1);
}

void compare_with(Oracle oracle, Caller caller, Buffers& buffers, std::size_t our_count) {
  const auto which = static_cast<std::size_t>(oracle);
  std::size_t their_count = g_oracles[which](caller, buffers.theirs, kRoom + kOwnFrames).frames;
  if (their_count > kRoom) their_count = kRoom;
  std::size_t common = 0;
  while (common < our_count && common < their_count && buffers.ours[common] == buffers.theirs[common]) {
    ++common;
  }
  if (common == our_count && common == their_count) {
    g_totals.equal[which].fetch_add(1);
    return;
  }
  g_totals.different[which].fetch_add(1);
  note(oracle, buffers.ours, our_count, buffers.theirs, their_count, common);
}

}  // namespace

bool start() {
  g_arena.start(64 << 20);
  if (!start_cfi(g_arena)) return false;
  g_oracles[static_cast<std::size_t>(Oracle::kLibunwind)] = open_libunwind();
  g_oracles[static_cast<std::size_t>(Oracle::kBoost)] = open_boost();
  void* libgcc = dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_LOCAL);
  void* find_entry = libgcc ? dlsym(libgcc, "_Unwind_Find_FDE") : nullptr;
  if (find_entry) memcpy(&g_find_entry, &find_entry, sizeof find_entry);
  return g_oracles[0] && g_oracles[1] && g_find_entry;
}

// Called by whoever calls malloc, with whatever alignment; the oracles use SSE.
[[gnu::force_align_arg_pointer]] void stack_of(Caller caller) {
  const int saved_errno = errno;
  if (Buffers* buffers = take_buffers()) {
    const std::size_t count = capture_by_cfi(caller, buffers->ours, kRoom).frames;
    compare_with(Oracle::kLibunwind, caller, *buffers, count);
    compare_with(Oracle::kBoost, caller, *buffers, count);
    g_totals.stacks.fetch_add(1);
    g_totals.frames.fetch_add(count);
    if (count > g_totals.deepest.load()) g_totals.deepest.store(count);
    buffers->taken.store(false, std::memory_order_release);
  }
  errno = saved_errno;
}

}  // namespace compare
}  // namespace memtrace
