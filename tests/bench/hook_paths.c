/* The calls whose instructions instruction_counts.py counts: nothing inside count_* but the hook under test.
 *
 *   hook_paths CALLS      under callgrind, which collects inside one of count_* */
#include <stdlib.h>

enum { kMaxCalls = 4096 };
static void* g_blocks[kMaxCalls];

#define MEASURED __attribute__((noinline, noclone)) void
MEASURED count_malloc(int calls);
MEASURED count_realloc(int calls);
MEASURED count_free(int calls);
MEASURED count_calloc(int calls);

MEASURED count_malloc(int calls) {
  for (int i = 0; i < calls; ++i) g_blocks[i] = malloc(100);
}

MEASURED count_realloc(int calls) {
  for (int i = 0; i < calls; ++i) g_blocks[i] = realloc(g_blocks[i], 200);
}

MEASURED count_free(int calls) {
  for (int i = 0; i < calls; ++i) free(g_blocks[i]);
}

MEASURED count_calloc(int calls) {
  for (int i = 0; i < calls; ++i) g_blocks[i] = calloc(10, 10);
}

int main(int argc, char** argv) {
  const int calls = argc > 1 ? atoi(argv[1]) : kMaxCalls;
  if (calls < 1 || calls > kMaxCalls) return 2;
  free(malloc(1)); /* a thread's first allocation sets it up */
  count_malloc(calls);
  count_realloc(calls);
  count_free(calls);
  count_calloc(calls);
  return 0;
}
