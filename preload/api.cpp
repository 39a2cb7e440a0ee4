// memtrace.h, inside the shim.
#include <errno.h>

#include "preload/confinement.hpp"
#include "preload/snapshot_thread.hpp"
#include "preload/snapshotter.hpp"
#include "preload/tracker.hpp"
#define MEMTRACE_BUILDING_SHIM
#include "preload/memtrace.h"

#include "preload/no_heap.hpp"

#define MEMTRACE_API __attribute__((visibility("default")))

using namespace memtrace;

namespace {

bool valid_label(std::string_view label) {
  if (label.size() > kMaxLabel) return false;
  for (const char c : label) {
    if (!label_char(c)) return false;
  }
  return true;
}

int set_paused(bool paused) {
  if (!tracker::active()) return ENOSYS;
  tracker::pause(paused);
  return 0;
}

}  // namespace

extern "C" {

MEMTRACE_API int memtrace_snapshot(const char* label, char* path, size_t room) {
  if (confinement::is_on()) return EPERM;
  if (!tracker::ready()) return ENOSYS;
  if (label && !valid_label(label)) return EINVAL;
  SnapshotRequest request{TriggerReason::kApi, {}};
  if (label) request.label << std::string_view(label);
  Path written;
  const int error = g_snapshot_thread.take_and_wait(request, written);
  if (error == 0 && room > 0) {
    const std::size_t size = written.view().size() < room ? written.view().size() : room - 1;
    __builtin_memcpy(path, written.c_str(), size);
    path[size] = '\0';
  }
  return error;
}

MEMTRACE_API int memtrace_stop(void) { return set_paused(true); }
MEMTRACE_API int memtrace_start(void) { return set_paused(false); }

}  // extern "C"
