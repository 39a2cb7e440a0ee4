// Frames of every shape that a C compiler makes, each of them allocating: fixed, grown by alloca and by
// variable-length arrays, realigned, realigned and grown, large, with pushed arguments, called back from
// libc. Built several times: each copy is about its flags.
//
//   stack_shapes            exits 0
//   stack_shapes deep N     N frames of recursion below an allocation
#include <alloca.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static volatile size_t g_sum;
static volatile int g_one = 1;

__attribute__((noipa)) static void touch(const void* bytes, size_t size) {
  void* block = malloc(size % 64 + 1);
  memset(block, *(const unsigned char*)bytes, size % 64 + 1);
  g_sum += ((unsigned char*)block)[0];
  free(block);
}

__attribute__((noipa)) static void plain(int n) {
  char bytes[100];
  memset(bytes, n, sizeof bytes);
  touch(bytes, sizeof bytes);
}

__attribute__((noipa)) static void no_frame(void) {
  touch("x", 1);
  g_sum += 1;
}

__attribute__((noipa)) static void large(int n) {
  char bytes[200000];
  bytes[0] = (char)n;
  bytes[sizeof bytes - 1] = (char)n;
  touch(bytes, 5);
  plain(n);
  g_sum += (size_t)bytes[sizeof bytes - 1];
}

__attribute__((noipa)) static void grown(size_t size) {
  char* bytes = alloca(size);
  memset(bytes, 1, size);
  touch(bytes, size);
  char* more = alloca(size / 2 + 1);
  more[0] = 2;
  touch(more, size);
  plain(bytes[0]);
}

__attribute__((noipa)) static void variable(size_t size) {
  for (size_t i = 1; i < 4; ++i) {
    char bytes[size * i];
    bytes[0] = (char)i;
    touch(bytes, size * i);
    plain(bytes[0]);
  }
}

__attribute__((noipa)) static void realigned(int n) {
  _Alignas(64) char bytes[192];
  memset(bytes, n, sizeof bytes);
  if ((uintptr_t)bytes % 64 != 0) abort();
  touch(bytes, 64);
  plain(bytes[3]);
}

// Through a register of its own to its arguments: the compiler cannot find them from a realigned rsp.
__attribute__((noipa)) static void realigned_and_grown(size_t size, int a, int b, int c, int d, int e, int f,
                                                       int g) {
  _Alignas(64) char bytes[64];
  char* more = alloca(size);
  memset(more, a + b + c, size);
  memset(bytes, d + e + f + g, sizeof bytes);
  if ((uintptr_t)bytes % 64 != 0) abort();
  touch(more, size);
  realigned(bytes[0]);
}

__attribute__((noipa)) static size_t many(int a, int b, int c, int d, int e, int f, int g, int h, int i,
                                          int j) {
  touch("m", 7);
  return (size_t)(a + b + c + d + e + f + g + h + i + j);
}

__attribute__((noipa)) static void pushes(int n) {
  g_sum += many(n, 1, 2, 3, 4, 5, 6, 7, 8, 9) +
           many(n, n, n, n, n, n, n, n, n, (int)many(1, 2, 3, 4, 5, 6, 7, 8, 9, n));
}

// Every callee-saved register is in use, so that rbp holds data in code without frame pointers.
__attribute__((noipa)) static size_t busy(const size_t* v) {
  size_t a = v[0], b = v[1], c = v[2], d = v[3], e = v[4], f = v[5], g = v[6];
  for (size_t i = 0; i < 3; ++i) {
    touch("b", a + i);
    a ^= b + i, b ^= c, c ^= d, d ^= e, e ^= f, f ^= g, g ^= a;
    plain((int)g);
  }
  return a + b + c + d + e + f + g;
}

// A quick way out before the registers are saved.
__attribute__((noipa)) static int wrapped(int n) {
  if (n == 0) return 0;
  touch("w", (size_t)n);
  return n + wrapped(n - 1) + wrapped(n / 3);
}

static int by_value(const void* a, const void* b) {
  if (g_one) touch(a, 3);
  return *(const int*)a - *(const int*)b;
}

__attribute__((noipa)) static size_t variadic(int count, ...) {
  va_list list;
  va_start(list, count);
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += va_arg(list, double);
  va_end(list);
  touch("v", (size_t)sum);
  return (size_t)sum;
}

__attribute__((noipa)) static size_t recurse(size_t depth, size_t every) {
  char bytes[16];
  bytes[0] = (char)depth;
  if (depth % every == 0) touch(bytes, depth);
  const size_t below = depth == 0 ? 0 : recurse(depth - 1, every);
  return below + (size_t)bytes[0];
}

int main(int argc, char** argv) {
  if (argc == 3 && strcmp(argv[1], "deep") == 0) {
    const size_t depth = strtoull(argv[2], NULL, 10);
    g_sum += recurse(depth, depth / 8 + 1);
    return 0;
  }
  const size_t v[7] = {1, 2, 3, 4, 5, 6, 7};
  int numbers[40];
  for (int i = 0; i < 40; ++i) numbers[i] = i * 7 % 40;
  for (int round = 0; round < 5; ++round) {
    plain(round);
    no_frame();
    large(round);
    grown(100 + (size_t)round * 1000);
    variable(10 + (size_t)round * 333);
    realigned(round);
    realigned_and_grown(50 + (size_t)round, 1, 2, 3, 4, 5, 6, 7);
    pushes(round);
    g_sum += busy(v);
    g_sum += (size_t)wrapped(9);
    qsort(numbers, 40, sizeof *numbers, by_value);
    numbers[round] = 99;
    g_sum += variadic(3, 1.0, 2.0, 3.0);
    g_sum += recurse(50, 7);
  }
  return 0;
}
