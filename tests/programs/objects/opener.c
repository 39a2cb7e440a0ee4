/* Opens an object that only this object's own run path leads to. */
#include <dlfcn.h>
#include <stddef.h>

int open_beside(void);
int open_beside(void) {
  void* object = dlopen("beside.so", RTLD_NOW);
  return object != NULL && dlsym(object, "beside") != NULL;
}
