/* usage: run_path OPENER.so     says whether the object found what lies beside it */
#include <dlfcn.h>

#include "tests/programs/victims/truth.h"

int main(int argc, char** argv) {
  REQUIRE(argc == 2);
  void* object = dlopen(argv[1], RTLD_NOW);
  REQUIRE(object != NULL);
  void* symbol = dlsym(object, "open_beside");
  int (*open_beside)(void);
  memcpy(&open_beside, &symbol, sizeof open_beside);
  say(open_beside() ? "found\n" : "not found\n");
  return 0;
}
