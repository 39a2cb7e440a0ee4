/* What a victim knows about its own memory: bytes and count by call site, a call site being a function.
 *
 *   static void* by_malloc(size_t size) { SITE; void* p = malloc(size); if (p) BORN(size); return p; }
 *   ... GONE(by_malloc's site, size) on free ... report("first") prints the truth and takes a snapshot.
 *
 * Nothing here allocates. Counters are atomic; report() wants the victim quiet. */
#ifndef MEMTRACE_TESTS_TRUTH_H
#define MEMTRACE_TESTS_TRUTH_H

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload/memtrace.h"

#define NOINLINE __attribute__((noinline, noclone))

struct site {
  const char* name;
  long long bytes;
  long long count;
  struct site* next;
  int listed;
};

static struct site* all_sites;

static inline void list_site(struct site* site) {
  if (__atomic_exchange_n(&site->listed, 1, __ATOMIC_ACQ_REL)) return;
  site->next = __atomic_load_n(&all_sites, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(&all_sites, &site->next, site, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
  }
}

static inline void change(struct site* site, long long bytes, long long count) {
  list_site(site);
  __atomic_fetch_add(&site->bytes, bytes, __ATOMIC_RELAXED);
  __atomic_fetch_add(&site->count, count, __ATOMIC_RELAXED);
}

#define SITE static struct site here = {__func__, 0, 0, NULL, 0}
#define BORN(size) change(&here, (long long)(size), 1)
#define GONE(site, size) change((site), -(long long)(size), -1)

static inline void say(const char* text) {
  size_t size = strlen(text);
  while (size > 0) {
    const ssize_t done = write(1, text, size);
    if (done <= 0) _exit(100);
    text += done;
    size -= (size_t)done;
  }
}

static inline void say_truth(void) {
  char line[160];
  for (const struct site* site = all_sites; site; site = site->next) {
    snprintf(line, sizeof line, "site %s %lld %lld\n", site->name, site->bytes, site->count);
    say(line);
  }
}

/* Ends with the line "snapshot PATH", or "snapshot failed: ERRNO". */
static inline void report(const char* label) {
  static char path[4200];
  static char line[4300];
  say_truth();
  const int error = memtrace_snapshot(label, path, sizeof path);
  if (error) {
    snprintf(line, sizeof line, "snapshot failed: %d\n", error);
  } else {
    snprintf(line, sizeof line, "snapshot %s\n", path);
  }
  say(line);
}

/* The victim's own checks: a broken one ends it with the line's number on stderr. */
#define REQUIRE(condition)                                                                 \
  do {                                                                                     \
    if (!(condition)) {                                                                    \
      dprintf(2, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno); \
      _exit(99);                                                                           \
    }                                                                                      \
  } while (0)

#endif
