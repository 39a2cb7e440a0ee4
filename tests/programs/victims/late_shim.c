/* Opens the shim itself, late, from a thread, when other objects have taken most of the room for thread-local
 * storage; closes it, and ends the thread. Nothing is recorded then, but nothing may break either.
 * usage: late_shim SHIM.so STATIC_TLS.so */
#include <dlfcn.h>
#include <pthread.h>

#include "tests/programs/victims/truth.h"

static char** objects;

static void* open_and_close(void* unused) {
  REQUIRE(dlopen(objects[2], RTLD_NOW) != NULL);
  void* shim = dlopen(objects[1], RTLD_NOW);
  if (!shim) say(dlerror());
  REQUIRE(shim != NULL);
  void* symbol = dlsym(shim, "malloc");
  void* (*its_malloc)(size_t);
  memcpy(&its_malloc, &symbol, sizeof its_malloc);
  void* block = its_malloc(1000);
  REQUIRE(block != NULL);
  free(block);
  REQUIRE(dlclose(shim) == 0);
  free(malloc(100));
  return unused;
}

int main(int argc, char** argv) {
  REQUIRE(argc == 3);
  objects = argv;
  for (int i = 0; i < 3; ++i) {
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, open_and_close, NULL) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
  }
  return 0;
}
