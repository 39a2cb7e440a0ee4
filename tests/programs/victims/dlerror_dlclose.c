/* Errors of the loader, whose text may have come from a malloc before ours was ready, and objects that come
 * and go. */
#include <dlfcn.h>
#include <pthread.h>

#include "tests/programs/victims/truth.h"

static void* fail_to_load(void* unused) {
  for (int i = 0; i < 100; ++i) {
    REQUIRE(dlsym(RTLD_DEFAULT, "no_such_function") == NULL);
    REQUIRE(strstr(dlerror(), "no_such_function") != NULL);
    REQUIRE(dlopen("no-such-object.so", RTLD_NOW) == NULL);
    REQUIRE(strstr(dlerror(), "no-such-object.so") != NULL);
    void* object = dlopen("libm.so.6", RTLD_NOW);
    REQUIRE(object != NULL && dlsym(object, "cos") != NULL);
    REQUIRE(dlclose(object) == 0);
  }
  return unused;
}

int main(void) {
  REQUIRE(dlerror() == NULL);
  fail_to_load(NULL);
  pthread_t threads[4];
  for (int i = 0; i < 4; ++i) REQUIRE(pthread_create(&threads[i], NULL, fail_to_load, NULL) == 0);
  for (int i = 0; i < 4; ++i) REQUIRE(pthread_join(threads[i], NULL) == 0);
  REQUIRE(dlsym(RTLD_DEFAULT, "not_there_either") == NULL); /* the text is freed at exit, by glibc */
  return 0;
}
