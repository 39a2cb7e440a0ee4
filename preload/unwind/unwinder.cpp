#include "preload/unwind/unwinder.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {

Unwinder choose_unwinder(UnwindChoice choice, PageArena& arena) {
  switch (choice) {
    case UnwindChoice::kAuto:
    case UnwindChoice::kCfi:
      if (start_cfi(arena)) return {capture_by_cfi, "cfi"};
      break;
    case UnwindChoice::kLibunwind:
      if (const CaptureFunction capture = open_libunwind()) return {capture, "libunwind", true, kOwnFrames};
      break;
    case UnwindChoice::kBoost:
      if (const CaptureFunction capture = open_boost()) return {capture, "boost", true, kOwnFrames};
      break;
    case UnwindChoice::kFramePointer:
      break;
  }
  return {capture_by_frame_pointer, "fp"};
}

Captured cut_own_frames(Caller caller, ReturnAddress* frames, std::size_t count) {
  for (std::size_t i = 0; i < count && i < kOwnFrames; ++i) {
    if (frames[i] != caller.return_address()) continue;
    __builtin_memmove(frames, frames + i, (count - i) * sizeof(*frames));
    const auto kept = static_cast<std::uint32_t>(count - i);
    return {kept, kept};
  }
  return {};
}

}  // namespace memtrace
