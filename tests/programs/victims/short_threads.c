/* Many threads, four at a time, that allocate a little and end. Then says by how many KiB its own memory has
 * grown since a tenth of them had ended. usage: short_threads COUNT */
#include <pthread.h>

#include "tests/programs/victims/truth.h"

static void* allocate(void* unused) {
  free(malloc(100));
  free(calloc(1, 3000));
  free(realloc(malloc(10), 500));
  return unused;
}

static long resident_kib(void) {
  FILE* file = fopen("/proc/self/statm", "r");
  long whole = 0;
  long resident = 0;
  REQUIRE(file != NULL && fscanf(file, "%ld %ld", &whole, &resident) == 2);
  fclose(file);
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

int main(int argc, char** argv) {
  REQUIRE(argc == 2);
  const int count = atoi(argv[1]);
  long before = 0;
  for (int i = 0; i < count; i += 4) {
    if (i >= count / 10 && before == 0) before = resident_kib();
    pthread_t threads[4];
    for (int k = 0; k < 4; ++k) REQUIRE(pthread_create(&threads[k], NULL, allocate, NULL) == 0);
    for (int k = 0; k < 4; ++k) REQUIRE(pthread_join(threads[k], NULL) == 0);
  }
  char line[64];
  snprintf(line, sizeof line, "%ld\n", resident_kib() - before);
  say(line);
  return 0;
}
