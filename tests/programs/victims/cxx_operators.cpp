// Every replaceable operator new and delete, called as such; the truth with all alive and with all gone.
#include <cstdint>
#include <new>

#include "tests/programs/victims/truth.h"

namespace {

constexpr std::align_val_t kAlign{64};
constexpr std::size_t kSize = 64;  // libstdc++ rounds up to the alignment
constexpr int kTimes = 25;

struct Held {
  void* block;
  site* owner;
};
Held held[8][kTimes];

extern "C" {
#define NEW(name, index, expression)          \
  NOINLINE void name(int i) {                 \
    SITE;                                     \
    held[index][i] = {expression, &here};     \
    REQUIRE(held[index][i].block != nullptr); \
    BORN(kSize);                              \
  }
NEW(plain, 0, ::operator new(kSize))
NEW(quiet, 1, ::operator new(kSize, std::nothrow))
NEW(aligned, 2, ::operator new(kSize, kAlign))
NEW(aligned_quiet, 3, ::operator new(kSize, kAlign, std::nothrow))
NEW(array, 4, ::operator new[](kSize))
NEW(array_quiet, 5, ::operator new[](kSize, std::nothrow))
NEW(array_aligned, 6, ::operator new[](kSize, kAlign))
NEW(array_aligned_quiet, 7, ::operator new[](kSize, kAlign, std::nothrow))
}

void remove(int kind, int i) {
  Held& h = held[kind][i];
  change(h.owner, -static_cast<long long>(kSize), -1);
  const bool is_array = kind >= 4;
  const bool is_aligned = kind % 4 >= 2;
  switch (i % 3) {  // plain, sized, nothrow: each fits each block of its alignment
    case 0:
      if (is_array) {
        is_aligned ? ::operator delete[](h.block, kAlign) : ::operator delete[](h.block);
      } else {
        is_aligned ? ::operator delete(h.block, kAlign) : ::operator delete(h.block);
      }
      break;
    case 1:
      if (is_array) {
        is_aligned ? ::operator delete[](h.block, kSize, kAlign) : ::operator delete[](h.block, kSize);
      } else {
        is_aligned ? ::operator delete(h.block, kSize, kAlign) : ::operator delete(h.block, kSize);
      }
      break;
    default:
      if (is_array) {
        is_aligned ? ::operator delete[](h.block, kAlign, std::nothrow)
                   : ::operator delete[](h.block, std::nothrow);
      } else {
        is_aligned ? ::operator delete(h.block, kAlign, std::nothrow)
                   : ::operator delete(h.block, std::nothrow);
      }
  }
}

extern "C" NOINLINE void throw_and_catch() {
  // A new that fails, by exception and without: nothing is counted, and exceptions work.
  volatile std::size_t huge = SIZE_MAX / 2 - 1;
  bool caught = false;
  try {
    (void)::operator new(huge);
  } catch (const std::bad_alloc&) {
    caught = true;
  }
  REQUIRE(caught);
  REQUIRE(::operator new(huge, std::nothrow) == nullptr);
}

}  // namespace

int main() {
  for (int i = 0; i < kTimes; ++i) {
    plain(i);
    quiet(i);
    aligned(i);
    aligned_quiet(i);
    array(i);
    array_quiet(i);
    array_aligned(i);
    array_aligned_quiet(i);
  }
  throw_and_catch();
  report("new");
  for (int kind = 0; kind < 8; ++kind) {
    for (int i = 0; i < kTimes; ++i) {
      if (i % 5 != 0) remove(kind, i);
    }
  }
  report("deleted");
  return 0;
}
