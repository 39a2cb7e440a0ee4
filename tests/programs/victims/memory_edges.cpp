// What a program can see of its own heap, and heaps that are out of the ordinary: larger than what the shim
// may remember, freed behind its back, locked into memory, of many threads.
//
//   memory_edges CASE        exits 0 when all was as it should be; what is printed is compared
#include <dlfcn.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/programs/victims/cases.hpp"
#include "tests/programs/victims/truth.h"

namespace {

std::size_t status_kib(const char* key) {
  char line[256];
  std::size_t found = 0;
  FILE* status = fopen("/proc/self/status", "r");
  REQUIRE(status);
  while (fgets(line, sizeof line, status)) {
    if (strncmp(line, key, strlen(key)) == 0) found = strtoul(line + strlen(key) + 1, nullptr, 10);
  }
  fclose(status);
  return found;
}

// The allocator's own figures, with snapshots in between. No threads: the loader's list of a thread's blocks
// has a place more for each library that has any.
int figures() {
  static void* blocks[3000];
  REQUIRE(mallopt(M_MMAP_THRESHOLD, 200'000) == 1);
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = 0; i < 3000; ++i) {
      free(blocks[i]);
      blocks[i] = i % 3 == 0 ? memalign(256, i) : malloc(i % 500 == 0 ? i * 300 : i);
    }
    const int error = memtrace_snapshot(nullptr, nullptr, 0);
    REQUIRE(error == 0 || error == ENOSYS);
    const struct mallinfo2 info = mallinfo2();
    printf("%zu %zu %zu %zu %zu %zu %zu %zu\n", info.arena, info.ordblks, info.smblks, info.hblks,
           info.hblkhd, info.uordblks, info.fordblks, info.keepcost);
    REQUIRE(malloc_info(0, stdout) == 0);
  }
  for (void*& block : blocks) free(block);
  printf("trimmed %d\n", malloc_trim(0));
  REQUIRE(malloc_info(0, stdout) == 0);
  return 0;
}

// Requests that fail, mean nothing, or mean something else than they say.
int odd_requests() {
  const auto said = [](const char* what, void* block) {
    printf("%s: %s, errno %d, %zu\n", what, block ? "a block" : "null", errno, malloc_usable_size(block));
    free(block);
    errno = 0;
  };
  volatile std::size_t huge = SIZE_MAX;
  void* block = nullptr;
  errno = 0;
  said("malloc 0", malloc(0));
  said("malloc huge", malloc(huge));
  said("malloc half", malloc(huge / 2));
  said("malloc half + 1", malloc(huge / 2 + 1));
  said("calloc 0", calloc(0, huge));
  said("calloc overflow", calloc(huge / 2, 3));
  said("calloc overflow to 0", calloc(huge / 2 + 1, 2));
  said("calloc huge", calloc(1, huge));
  said("aligned_alloc 3", aligned_alloc(3, 100));
  said("aligned_alloc 0", aligned_alloc(0, 100));
  said("aligned_alloc huge", aligned_alloc(huge / 2 + 1, 100));
  said("memalign 3", memalign(3, 100));
  said("memalign huge", memalign(64, huge - 10));
  said("valloc huge", valloc(huge - 10));
  said("pvalloc huge", pvalloc(huge - 10));
  for (const std::size_t alignment :
       {std::size_t{0}, std::size_t{3}, std::size_t{4}, std::size_t{8}, huge / 2 + 1}) {
    void* out = &block;
    const int error = posix_memalign(&out, alignment, 100);
    printf("posix_memalign %zu: %d%s\n", alignment, error, out == &block ? ", untouched" : "");
    if (error == 0) free(out);
  }
  for (int i = 0; i < 3; ++i) {
    block = malloc(100);
    memset(block, 'x', 100);
    void* same = realloc(block, huge);
    printf("realloc huge: %p, errno %d, first %c\n", same, errno, *static_cast<char*>(block));
    same = reallocarray(block, huge / 2, 3);
    printf("reallocarray overflow: %p, errno %d, last %c\n", same, errno, static_cast<char*>(block)[99]);
    errno = 0;
    same = i == 0 ? realloc(block, 0) : i == 1 ? reallocarray(block, 0, 8) : reallocarray(block, 8, 0);
    printf("realloc 0: %s, errno %d\n", same ? "a block" : "null", errno);
    free(same);
    errno = 0;
  }
  said("realloc null 0", realloc(nullptr, 0));
  said("realloc null", realloc(nullptr, 10));
  said("reallocarray null", reallocarray(nullptr, 10, 10));
  free(nullptr);
  printf("free null: errno %d, usable %zu\n", errno, malloc_usable_size(nullptr));
  return 0;
}

NOINLINE void* kept_here(std::size_t size) {
  void* block = malloc(size);
  asm volatile("" : "+r"(block));
  return block;
}

// Freed by libc's own free: their addresses come again.
int freed_elsewhere() {
  void (*real_free)(void*);
  void* libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
  REQUIRE(libc);
  *reinterpret_cast<void**>(&real_free) = dlsym(libc, "free");
  REQUIRE(real_free);
  for (int i = 0; i < 1000; ++i) real_free(kept_here(100));
  REQUIRE(memtrace_snapshot("one", nullptr, 0) == 0);
  free(kept_here(100));
  REQUIRE(memtrace_snapshot("none", nullptr, 0) == 0);
  return 0;
}

// A stack for each number: the bits choose the way, then the way is long.
NOINLINE void* on_its_own_stack(unsigned path, int depth) {
  void* block;
  if (depth == 0) {
    block = malloc(24);
  } else if (depth < 24 && (path >> depth & 1)) {
    block = on_its_own_stack(path, depth - 1);
  } else {
    block = on_its_own_stack(path, depth - 1);
    asm volatile("nop");
  }
  asm volatile("" : "+r"(block));
  return block;
}

// More stacks than there may be room for, in a process that has memory for no more than that.
int past_the_cap(unsigned blocks) {
  constexpr std::size_t kMiB = 1 << 20;
  const std::size_t own = blocks * 32 + 128 * kMiB + 32 * kMiB;
  const rlimit room{status_kib("VmSize:") * 1024 + own, RLIM_INFINITY};
  REQUIRE(setrlimit(RLIMIT_AS, &room) == 0);
  struct Link {
    Link* next;
  };
  Link* last = nullptr;
  for (unsigned i = 0; i < blocks; ++i) {
    auto* link = static_cast<Link*>(on_its_own_stack(i << 1, 58));
    REQUIRE(link);
    *link = {last};
    last = link;
  }
  while (last) {
    Link* next = last->next;
    free(last);
    last = next;
  }
  REQUIRE(memtrace_snapshot(nullptr, nullptr, 0) == 0);
  return 0;
}

// Uses memory of all kinds, and says how much address space that took at most.
int modest() {
  std::vector<void*> blocks;
  for (std::size_t i = 0; i < 3000; ++i) blocks.push_back(malloc(i));
  for (void* block : blocks) {
    REQUIRE(block);
    free(block);
  }
  void* large = malloc(3 << 20);
  REQUIRE(large);
  free(large);
  void* pages = mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(pages != MAP_FAILED && munmap(pages, 1 << 20) == 0);
  printf("%zu\n", status_kib("VmPeak:"));
  (void)memtrace_snapshot(nullptr, nullptr, 0);
  return 0;
}

// Every page of the process is locked, also those to come.
int locked() {
  if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) return 77;
  void* blocks[2000];
  for (std::size_t i = 0; i < 2000; ++i) REQUIRE(blocks[i] = kept_here(i));
  std::thread([] { free(malloc(1000)); }).join();
  const int error = memtrace_snapshot(nullptr, nullptr, 0);
  REQUIRE(error == 0 || error == ENOSYS);
  for (void* block : blocks) free(block);
  printf("%zu\n", status_kib("VmLck:"));
  return 0;
}

NOINLINE void* of_many_threads(std::size_t size) {
  SITE;
  BORN(size);
  return malloc(size);
}
NOINLINE void* soon_gone(std::size_t size) {
  void* block = malloc(size);
  asm volatile("" : "+r"(block));
  return block;
}

// More threads than processors: whoever holds a lock is often not running.
int many_threads() {
  std::atomic<int> ready{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 64; ++t) {
    threads.emplace_back([&] {
      ++ready;
      while (ready < 64) std::this_thread::yield();
      for (std::size_t i = 0; i < 1000; ++i) {
        void* block = soon_gone(i);
        if (i % 10 == 0) (void)!of_many_threads(i);
        free(block);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  report("after");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 2 && strcmp(argv[1], "past_the_cap") == 0)
    return past_the_cap(static_cast<unsigned>(atoi(argv[2])));
  return run_case(argc, argv,
                  {{"figures", figures},
                   {"odd_requests", odd_requests},
                   {"freed_elsewhere", freed_elsewhere},
                   {"modest", modest},
                   {"locked", locked},
                   {"many_threads", many_threads}});
}
