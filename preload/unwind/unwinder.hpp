// Captures the stack of the calling thread, by one strategy chosen once at start.
//
// Called by: the cold path, with no lock held (P4). Threads: any, at once. errno is kept by the caller.
// Failure: 0 frames; the caller records the hook's return address alone and counts it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "format/types.hpp"

namespace memtrace {

// Where a hook was called from: what every strategy starts or aligns at.
struct Caller {
  ReturnAddress return_address{};
  const void* frame_pointer =
      nullptr;  // rbp as the hook found it; means something where code keeps frame pointers
};

// The shim's own frames above a hook, at most: `room` includes them, as some strategies cannot leave them
// out.
inline constexpr std::size_t kOwnFrames = 15;

// Writes up to `room` return addresses, innermost first, the first being caller.return_address. Returns how
// many.
using CaptureFunction = std::size_t (*)(Caller caller, ReturnAddress* frames, std::size_t room);

enum class UnwindChoice : std::uint8_t { kAuto, kLibunwind, kFramePointer };

struct Unwinder {
  CaptureFunction capture = nullptr;
  const char* name = "none";  // as MEMTRACE_UNWIND names it; goes into snapshots

  // Whether a capture may take locks outside the shim (the loader's). Such a strategy names only objects that
  // are loaded.
  [[nodiscard]] bool takes_locks() const;
};

// Once, at start, inside a hook guard: may open libraries. kAuto is libunwind where it opens, else frame
// pointers. A choice that cannot be had falls back like kAuto; `name` then differs from what was asked for.
[[nodiscard]] Unwinder choose_unwinder(UnwindChoice choice);

// The strategies. open_libunwind returns nullptr where libunwind.so.8 cannot be opened.
[[nodiscard]] CaptureFunction open_libunwind();
[[nodiscard]] std::size_t capture_by_frame_pointer(Caller caller, ReturnAddress* frames, std::size_t room);

inline bool Unwinder::takes_locks() const { return capture != capture_by_frame_pointer; }

}  // namespace memtrace
