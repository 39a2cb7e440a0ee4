/* Its constructor, the loader's lock held, waits for a thread that allocates. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static void* allocate(void* unused) {
  for (int i = 0; i < 1000; ++i) free(malloc((size_t)(i * 37 % 5000)));
  return unused;
}

__attribute__((constructor)) static void start(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, allocate, NULL) != 0 || pthread_join(thread, NULL) != 0) _exit(96);
}
