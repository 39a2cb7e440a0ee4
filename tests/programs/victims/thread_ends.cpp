// Threads that allocate and free in their last moments: destructors of thread-local objects, of keys, in many
// rounds, each making the next one; and threads that only free what others made. The truth is exact.
#include <pthread.h>

#include <atomic>
#include <string>
#include <vector>

#include "tests/programs/victims/truth.h"

namespace {

pthread_key_t g_keys[8];
std::atomic<site*> g_site_of_kept;

extern "C" NOINLINE void* keep(std::size_t size) {
  SITE;
  g_site_of_kept = &here;
  void* block = malloc(size);
  REQUIRE(block != nullptr);
  BORN(size);
  return block;
}

void let_go(void* block, long long size) {
  free(block);
  change(g_site_of_kept, -size, -1);
}

// Runs again as long as it leaves a value behind: PTHREAD_DESTRUCTOR_ITERATIONS times.
void on_key(void* value) {
  let_go(value, 48);
  void* next = keep(48);
  static thread_local int rounds = 0;
  if (++rounds < 20) {
    pthread_setspecific(g_keys[static_cast<unsigned>(rounds) % 8], next);
  } else {
    let_go(next, 48);
  }
}

struct Object {
  std::string text = std::string(100, 'x');
  std::vector<int> numbers = std::vector<int>(100);
  void* block = keep(33);
  ~Object() {
    let_go(block, 33);
    text += text;
    (void)keep(5);  // its last word stays
  }
};
thread_local Object g_object;

void* live_and_die(void* unused) {
  g_object.numbers.push_back(1);
  for (auto key : g_keys) pthread_setspecific(key, keep(48));
  return unused;
}

void* g_blocks[500];
void* free_only(void* unused) {
  for (void* block : g_blocks) let_go(block, 70);
  return unused;
}

}  // namespace

int main() {
  for (auto& key : g_keys) REQUIRE(pthread_key_create(&key, on_key) == 0);
  pthread_t threads[8];
  for (int round = 0; round < 50; ++round) {
    for (auto& thread : threads) REQUIRE(pthread_create(&thread, nullptr, live_and_die, nullptr) == 0);
    for (auto thread : threads) REQUIRE(pthread_join(thread, nullptr) == 0);
  }
  // What a thread leaves in its keys when their rounds are over is lost to libc, too: still there, not freed.
  for (void*& block : g_blocks) block = keep(70);
  REQUIRE(pthread_create(&threads[0], nullptr, free_only, nullptr) == 0);
  REQUIRE(pthread_join(threads[0], nullptr) == 0);
  report("end");
  return 0;
}
