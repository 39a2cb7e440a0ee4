// A thread of high priority allocates and frees, with a nap now and then, while one of low priority takes ten
// snapshots: on one processor it interrupts them anywhere, a lock held or not.
// usage: real_time fifo|other
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <atomic>
#include <thread>

#include "tests/programs/victims/truth.h"

namespace {

bool g_real_time = false;
std::atomic<bool> g_stop{false};

void set_priority(int priority) {
  const sched_param wanted{priority};
  if (g_real_time) REQUIRE(pthread_setschedparam(pthread_self(), SCHED_FIFO, &wanted) == 0);
}

NOINLINE void* allocate(std::size_t size) {
  SITE;
  BORN(size);
  return malloc(size);
}

NOINLINE void* allocate_and_forget(std::size_t size) {
  void* block = malloc(size);
  asm volatile("" : "+r"(block));
  return block;
}

void hog() {
  set_priority(20);
  static void* blocks[1000];
  unsigned turn = 0;
  while (!g_stop) {
    for (int i = 0; i < 200; ++i) {
      void*& block = blocks[turn++ % 1000];
      free(block);
      block = allocate_and_forget(turn % 300);
    }
    const timespec nap{0, 20'000};
    nanosleep(&nap, nullptr);
  }
  for (void* block : blocks) free(block);
}

}  // namespace

int main(int argc, char** argv) {
  g_real_time = argc > 1 && strcmp(argv[1], "fifo") == 0;
  for (std::size_t i = 0; i < 20'000; ++i) (void)!allocate(i % 100);  // so that a snapshot takes a while
  std::thread busy(hog);
  set_priority(10);
  for (int i = 0; i < 10; ++i) REQUIRE(memtrace_snapshot(nullptr, nullptr, 0) == 0);
  g_stop = true;
  busy.join();
  report("after");
  return 0;
}
