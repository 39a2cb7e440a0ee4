// Eight threads in random operations on a shared pool of blocks, with a model of what each call site holds.
// usage: random_model OPERATIONS_PER_THREAD SEED
//
// Blocks lie in slots; a thread takes what is in a random slot (exchange) and frees or resizes it, whoever
// made it. Twice all threads stop and the truth is said; then everything is freed.
#include <malloc.h>

#include <atomic>
#include <barrier>
#include <cstdint>
#include <random>
#include <thread>

#include "tests/programs/victims/truth.h"

namespace {

constexpr int kThreads = 8;
constexpr std::size_t kSlots = 20'000;

struct Block {
  void* address;
  std::size_t size;
  site* owner;
};
std::atomic<std::uint32_t> slots[kSlots];  // index into blocks, 0: empty
Block blocks[kSlots + kThreads + 1];       // each thread holds one that is in no slot

void gone(Block& block) {
  if (block.address == nullptr) return;
  change(block.owner, -static_cast<long long>(block.size), -1);
}
void born(Block& block, void* address, std::size_t size, site* owner) {
  REQUIRE(address != nullptr);
  *static_cast<volatile char*>(address) = 1;
  change(owner, static_cast<long long>(size), 1);
  block = {address, size, owner};
}

extern "C" {
NOINLINE void by_malloc(Block& block, std::size_t n) {
  SITE;
  born(block, malloc(n), n, &here);
}
NOINLINE void by_calloc(Block& block, std::size_t n) {
  SITE;
  born(block, calloc(n, 2), n * 2, &here);
}
NOINLINE void by_memalign(Block& block, std::size_t n) {
  SITE;
  born(block, memalign(64, n), n, &here);
}
NOINLINE void by_posix_memalign(Block& block, std::size_t n) {
  SITE;
  void* p = nullptr;
  REQUIRE(posix_memalign(&p, 4096, n) == 0);
  born(block, p, n, &here);
}
NOINLINE void by_realloc(Block& block, std::size_t n) {
  SITE;
  void* p = realloc(block.address, n);
  REQUIRE(p != nullptr);
  gone(block);
  born(block, p, n, &here);
}
NOINLINE void by_reallocarray(Block& block, std::size_t n) {
  SITE;
  void* p = reallocarray(block.address, n, 3);
  REQUIRE(p != nullptr);
  gone(block);
  born(block, p, n * 3, &here);
}
NOINLINE void by_new(Block& block, std::size_t n) {
  SITE;
  born(block, ::operator new(n), n, &here);
}
}

void release(Block& block) {
  if (block.address == nullptr) return;
  gone(block);
  void* p = block.address;
  block = {};
  free(p);
}

void work(int number, std::uint64_t operations, std::uint64_t seed, std::barrier<>& stop) {
  std::minstd_rand random(
      static_cast<std::minstd_rand::result_type>(seed * 97 + static_cast<std::uint64_t>(number)));
  std::uint32_t spare = static_cast<std::uint32_t>(kSlots) + 1 + static_cast<std::uint32_t>(number);
  for (int phase = 0; phase < 2; ++phase) {
    for (std::uint64_t i = 0; i < operations / 2; ++i) {
      const std::size_t slot = random() % kSlots;
      const std::uint32_t taken = slots[slot].exchange(spare, std::memory_order_acq_rel);
      spare = taken;
      Block& block = blocks[taken];
      // Mostly small, sometimes up to 128 KiB: bins, tcache, top of heap, mmapped.
      std::size_t n = 1 + random() % (random() % 64 == 0 ? 131'072 : 512);
      switch (random() % 8) {
        case 0:
        case 1:
          by_realloc(block, n);
          continue;
        case 2:
          if (block.address != nullptr) {
            by_reallocarray(block, n);
            continue;
          }
          break;
        case 3:
          REQUIRE(block.address == nullptr || realloc(block.address, SIZE_MAX / 2) == nullptr);
          continue;
        default:
          break;
      }
      release(block);
      switch (random() % 6) {
        case 0:
          by_malloc(block, n);
          break;
        case 1:
          by_calloc(block, n);
          break;
        case 2:
          by_memalign(block, n);
          break;
        case 3:
          by_posix_memalign(block, n % 512 + 1);
          break;
        case 4:
          by_new(block, n);
          break;
        default:
          break;  // stays empty
      }
    }
    stop.arrive_and_wait();  // the truth is said
    stop.arrive_and_wait();
  }
}

}  // namespace

int main(int argc, char** argv) {
  REQUIRE(argc == 3);
  const std::uint64_t operations = strtoull(argv[1], nullptr, 10);
  const std::uint64_t seed = strtoull(argv[2], nullptr, 10);
  for (std::size_t i = 0; i < kSlots; ++i) slots[i].store(static_cast<std::uint32_t>(i + 1));
  std::barrier stop(kThreads + 1);
  static std::thread threads[kThreads];
  for (int i = 0; i < kThreads; ++i) threads[i] = std::thread(work, i, operations, seed, std::ref(stop));
  stop.arrive_and_wait();
  report("first");
  stop.arrive_and_wait();
  stop.arrive_and_wait();
  report("second");
  stop.arrive_and_wait();
  for (auto& thread : threads) thread.join();
  for (Block& block : blocks) release(block);
  report("end");
  return 0;
}
