/* memtrace.h as C sees it, and by way of api_user_cxx.cpp as C++; prints what each call returned. */
#include <limits.h>

#include "tests/programs/victims/truth.h"

static NOINLINE void recorded(void) {
  SITE;
  void* p = malloc(500);
  REQUIRE(p != NULL);
  BORN(500);
}
static void* volatile unrecorded;

static void try_label(const char* label) {
  char line[200];
  snprintf(line, sizeof line, "label %s: %d\n", label, memtrace_snapshot(label, NULL, 0));
  say(line);
}

int main(void) {
  char line[PATH_MAX + 64];
  char path[PATH_MAX];
  char little[8] = "xxxxxxx";
  recorded();
  const int stopped = memtrace_stop();
  unrecorded = malloc(900);
  const int started = memtrace_start();
  recorded();
  snprintf(line, sizeof line, "stop %d start %d\n", stopped, started);
  say(line);
  const int taken = memtrace_snapshot("a.label_with-all", path, sizeof path);
  snprintf(line, sizeof line, "snapshot %d %s\n", taken, taken ? "" : strrchr(path, '/') + 1);
  say(line);
  snprintf(line, sizeof line, "cut %d %s\n", memtrace_snapshot(NULL, little, sizeof little), little);
  say(line);
  try_label("");
  try_label("with/slash");
  try_label("with space");
  try_label("x234567890123456789012345678901234567890123456789012345678901234");
  try_label("x2345678901234567890123456789012345678901234567890123456789012345");
  say_truth();
  return 0;
}
