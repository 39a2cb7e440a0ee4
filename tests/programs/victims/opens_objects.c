/* Opens and closes each object that is named, some times. usage: opens_objects OBJECT.so... */
#include <dlfcn.h>

#include "tests/programs/victims/truth.h"

int main(int argc, char** argv) {
  REQUIRE(argc > 1);
  for (int round = 0; round < 20; ++round) {
    for (int i = 1; i < argc; ++i) {
      void* object = dlopen(argv[i], RTLD_NOW);
      REQUIRE(object != NULL && dlclose(object) == 0);
    }
  }
  report("end");
  return 0;
}
