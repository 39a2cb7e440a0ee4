/* memtrace's API for C and C++. Without the shim in the process every call is a no-op that says so: nothing
 * to link.
 *
 * All functions are thread-safe; none may be called from a signal handler. */
#ifndef MEMTRACE_H
#define MEMTRACE_H

#include <errno.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Takes a snapshot and waits for it. `label` (letters, digits, ". _ -", at most 64; or NULL) becomes part of
 * the file's name; the path is copied into path[0..room) when room is not 0. Returns 0, or an errno value:
 * EINVAL for a bad label, ENOSYS without the shim, EPERM in a process that has confined itself (seccomp),
 * what the file system said otherwise. */
int memtrace_snapshot(const char* label, char* path, size_t room) __attribute__((weak));

/* Between stop and start nothing new is recorded; what is live stays known and its frees are seen.
 * Return 0, or ENOSYS without the shim. Tracing starts with the process. */
int memtrace_stop(void) __attribute__((weak));
int memtrace_start(void) __attribute__((weak));

#ifndef MEMTRACE_BUILDING_SHIM
#define memtrace_snapshot(label, path, room) \
  (memtrace_snapshot ? memtrace_snapshot(label, path, room) : ENOSYS)
#define memtrace_stop() (memtrace_stop ? memtrace_stop() : ENOSYS)
#define memtrace_start() (memtrace_start ? memtrace_start() : ENOSYS)
#endif

#ifdef __cplusplus
}
#endif

#endif
