// Allocates before main (constructors), after it (atexit handlers, destructors) and in a thread's last
// moments. The truth is said by the last destructor to run; the snapshot is MEMTRACE_AT_EXIT's.
#include <pthread.h>

#include "tests/programs/victims/truth.h"

namespace {

void* volatile kept;

#define ALLOCATES(name, size)       \
  extern "C" NOINLINE void name() { \
    SITE;                           \
    kept = malloc(size);            \
    BORN(size);                     \
  }
ALLOCATES(in_constructor, 22)
ALLOCATES(in_static_object, 33)
ALLOCATES(in_main, 44)
ALLOCATES(in_atexit, 55)
ALLOCATES(in_static_destructor, 66)
ALLOCATES(in_destructor, 77)
ALLOCATES(in_key_destructor, 88)

// Before every constructor, the shim's included: such a block is not recorded, but must be good.
void preinit(int, char**, char**) { kept = malloc(11); }
[[gnu::section(".preinit_array"), gnu::used]] void (*preinit_entry)(int, char**, char**) = preinit;

[[gnu::constructor]] void constructor() { in_constructor(); }
[[gnu::destructor]] void destructor() {
  in_destructor();
  say_truth();
}

struct Object {
  Object() { in_static_object(); }
  ~Object() { in_static_destructor(); }
} object;

void key_destructor(void*) { in_key_destructor(); }

}  // namespace

int main() {
  in_main();
  atexit([] { in_atexit(); });
  pthread_key_t key;
  REQUIRE(pthread_key_create(&key, key_destructor) == 0);
  pthread_t thread;
  static int value;
  static pthread_key_t the_key = key;
  auto body = [](void*) -> void* {
    pthread_setspecific(the_key, &value);
    return nullptr;
  };
  REQUIRE(pthread_create(&thread, nullptr, body, nullptr) == 0);
  REQUIRE(pthread_join(thread, nullptr) == 0);
  return 0;
}
