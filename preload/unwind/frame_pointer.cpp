// Walks saved frame pointers. Right where code keeps them; elsewhere it stops early or names wrong callers.
#include "preload/sys/readable.hpp"
#include "preload/unwind/unwinder.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {

Captured capture_by_frame_pointer(Caller caller, ReturnAddress* frames, std::size_t room) {
  constexpr std::uintptr_t kPageMask = ~std::uintptr_t{kPageBytes - 1};
  constexpr std::uintptr_t kMaxStep = std::uintptr_t{1} << 24;
  if (room == 0) return {};
  std::uint32_t count = 0;
  frames[count++] = caller.return_address();
  auto below = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  std::uintptr_t known_page = below & kPageMask;
  auto frame = reinterpret_cast<std::uintptr_t>(caller.frame_pointer);
  while (count < room) {
    // A frame is two words: the caller's frame pointer, the return address. Any register value may stand in
    // for it.
    if (frame <= below || frame - below > kMaxStep || frame % alignof(std::uintptr_t) != 0) break;
    for (const std::uintptr_t end : {frame, frame + 2 * sizeof(std::uintptr_t) - 1}) {
      const std::uintptr_t page = end & kPageMask;
      if (page == known_page) continue;
      if (!sys::readable(page)) return {count, 1};  // on old kernels the walk stays in its first page
      known_page = page;
    }
    const auto* words = reinterpret_cast<const std::uintptr_t*>(frame);
    if (words[1] < kPageBytes) break;
    frames[count++] = static_cast<ReturnAddress>(words[1]);
    below = frame;
    frame = words[0];
  }
  return {count, 1};  // a word that was no frame pointer may name an object that another thread is closing
}

}  // namespace memtrace
