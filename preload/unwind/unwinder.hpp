// Captures the stack of the calling thread, by one strategy chosen once at start.
//
// Called by: the cold path, with no lock held (P4). Threads: any, at once. errno is kept by the caller.
// Failure: 0 frames; the caller records the hook's return address alone and counts it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "format/types.hpp"
#include "preload/sys/page_arena.hpp"

namespace memtrace {

// Where a hook was called from: what every strategy starts or aligns at.
struct Caller {
  // The stack pointer once the hook has returned; the return address lies right below. Not null.
  const void* cfa = nullptr;
  const void* frame_pointer = nullptr;  // rbp as the hook found it

  [[nodiscard]] ReturnAddress return_address() const {
    ReturnAddress address;
    __builtin_memcpy(&address, static_cast<const char*>(cfa) - sizeof address,
                     sizeof address);  // aligned or not
    return address;
  }
};

// The shim's own frames above a hook, at most, for strategies that cannot leave them out.
inline constexpr std::size_t kOwnFrames = 15;

struct ThreadSlab;
struct RememberedWalk;
struct WalkMemo;

struct Captured {
  std::uint32_t frames = 0;
  // The first so many are certainly frames of this stack, so that their objects cannot be unloaded now.
  std::uint32_t certain = 0;
};

// Writes up to `room` return addresses, innermost first, the first being the caller's. Where a strategy has
// own_frames, `room` must have place for them besides.
using CaptureFunction = Captured (*)(Caller caller, ReturnAddress* frames, std::size_t room);

enum class UnwindChoice : std::uint8_t { kAuto, kCfi, kFramePointer, kLibunwind, kBoost };

struct Unwinder {
  CaptureFunction capture = nullptr;
  const char* name = "none";  // as MEMTRACE_UNWIND names it; goes into snapshots
  // Whether a capture may take locks outside the shim (the loader's).
  bool takes_locks = false;
  std::size_t own_frames = 0;
};

// Once, at start, inside a hook guard: may open libraries. kAuto is cfi. A choice that cannot be had falls
// back to frame pointers; `name` then differs from what was asked for. Memory from `arena`, which must
// outlive it.
[[nodiscard]] Unwinder choose_unwinder(UnwindChoice choice, PageArena& arena);

// For recording every allocation, by cfi alone: the place in the thread's memo for a walk from here, and
// whether that walk is there and still holds, so that its stack is known. nullptr: such a walk cannot be
// remembered.
[[nodiscard]] RememberedWalk* find_remembered(Caller caller, ThreadSlab& slab, WalkMemo& memo, bool& holds);
// As capture_by_cfi. `remembered`, from find_remembered, is ready to be published then, or nullptr.
[[nodiscard]] Captured capture_and_remember(Caller caller, ReturnAddress* frames, std::size_t room,
                                            ThreadSlab& slab, RememberedWalk*& remembered);

// Rules and objects may have changed: what was remembered of them is looked up again. The snapshot thread.
void refresh_unwinder();

// The strategies. open_...: nullptr where the library cannot be opened; start_cfi: false without memory.
[[nodiscard]] bool start_cfi(PageArena& arena);
[[nodiscard]] Captured capture_by_cfi(Caller caller, ReturnAddress* frames, std::size_t room);
[[nodiscard]] Captured capture_by_frame_pointer(Caller caller, ReturnAddress* frames, std::size_t room);
[[nodiscard]] CaptureFunction open_libunwind();
[[nodiscard]] CaptureFunction open_boost();

// What strategies that start at their own frame share: cuts those above the caller. Both counts.
[[nodiscard]] Captured cut_own_frames(Caller caller, ReturnAddress* frames, std::size_t count);

}  // namespace memtrace
