// Forks over and over while eight threads allocate; each child allocates, some take a snapshot; all must end.
// usage: fork_storm FORKS SNAPSHOT_EVERY
#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <thread>

#include "tests/programs/victims/truth.h"

namespace {

std::atomic<bool> done;
void* volatile shared;

extern "C" NOINLINE void in_child(std::size_t size) {
  SITE;
  void* block = malloc(size);
  REQUIRE(block != nullptr);
  shared = block;
  BORN(size);
}

void churn(unsigned number) {
  void* blocks[64] = {};
  for (unsigned i = number; !done.load(std::memory_order_relaxed); ++i) {
    if (i % 256 == 0) std::this_thread::yield();  // or every fork waits for eight time slices
    void*& block = blocks[i * 7 % 64];
    if (i % 3 == 0) {
      void* larger = realloc(block, 40 + i % 900);
      if (larger) block = larger;
    } else {
      free(block);
      block = malloc(16 + i % 500);
    }
  }
  for (void* block : blocks) free(block);
}

}  // namespace

int main(int argc, char** argv) {
  REQUIRE(argc == 3);
  const int forks = atoi(argv[1]);
  const int every = atoi(argv[2]);
  static std::thread threads[8];
  for (unsigned i = 0; i < 8; ++i) threads[i] = std::thread(churn, i);
  for (int i = 0; i < forks; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);  // a child that hangs is killed, and the parent says so
      for (std::size_t n = 0; n < 20; ++n) in_child(1000 + n);
      free(shared);
      change(all_sites, -1019, -1);  // in_child's: the only one
      if (i % every == 0) report("child");
      _exit(6);
    }
    int status = 0;
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 6);
  }
  done = true;
  for (auto& thread : threads) thread.join();
  say("all ended\n");
  return 0;
}
