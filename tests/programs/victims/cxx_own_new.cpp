// A program with its own operator new: small blocks out of pools that come from malloc, large ones from
// malloc.
#include <malloc.h>

#include <new>
#include <string>
#include <vector>

#include "tests/programs/victims/truth.h"

namespace {

constexpr std::size_t kPool = 64 * 1024;
char* pool;
std::size_t left;

extern "C" NOINLINE void refill() {
  SITE;
  pool = static_cast<char*>(malloc(kPool));
  REQUIRE(pool != nullptr);
  left = kPool;
  BORN(kPool);
}
extern "C" NOINLINE void* large(std::size_t size) {
  SITE;
  void* block = malloc(size);
  REQUIRE(block != nullptr);
  BORN(size);
  return block;
}

}  // namespace

void* operator new(std::size_t size) {
  size = (size + 15) & ~std::size_t{15};
  if (size > 1024) return large(size);
  if (left < size) refill();
  left -= size;
  return pool + left;
}
void operator delete(void*) noexcept {}
void operator delete(void*, std::size_t) noexcept {}

int main() {
  std::vector<std::string>* words = new std::vector<std::string>;
  for (int i = 0; i < 5000; ++i) words->push_back(std::string(static_cast<std::size_t>(i % 2000), 'x'));
  report("filled");
  return words->size() == 5000 ? 0 : 1;
}
