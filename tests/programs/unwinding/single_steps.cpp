// Runs code instruction by instruction; the handler of each trap, on an alternate stack, has its stack
// compared. So every row of the unwind tables of what runs is used, prologues and epilogues too: qsort,
// printf, malloc, the vDSO, calls through the PLT that the loader has yet to bind, exceptions, coroutines.
//
//   single_steps CASE     exits 0; 2 without libcompare_unwinders.so
#include <alloca.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <stdexcept>
#include <string>

extern "C" {
[[gnu::weak]] void compare_stack_here();
void start_stepping();
void stop_stepping();
}

// The trap flag, with tables that stay right while it is being changed.
asm(R"(
.text
.type start_stepping, @function
start_stepping:
  .cfi_startproc
  pushfq
  .cfi_adjust_cfa_offset 8
  orl $0x100, (%rsp)
  popfq
  .cfi_adjust_cfa_offset -8
  ret
  .cfi_endproc
.size start_stepping, .-start_stepping
.type stop_stepping, @function
stop_stepping:
  .cfi_startproc
  pushfq
  .cfi_adjust_cfa_offset 8
  andl $~0x100, (%rsp)
  popfq
  .cfi_adjust_cfa_offset -8
  ret
  .cfi_endproc
.size stop_stepping, .-stop_stepping
)");

namespace {

volatile long g_steps = 0;
volatile double g_number = 12345.678;

void on_trap(int) {
  g_steps = g_steps + 1;
  compare_stack_here();
}

int by_value(const void* a, const void* b) {
  return *static_cast<const int*>(a) - *static_cast<const int*>(b);
}

void libc() {
  int numbers[] = {5, 2, 9, 1, 7, 3};
  start_stepping();
  qsort(numbers, 6, sizeof *numbers, by_value);
  char text[200];
  snprintf(text, sizeof text, "%d %s %10.3f %zu", numbers[0], "text", g_number, sizeof text);
  g_number = strtod(text + 7, nullptr);
  const time_t when = 86400 * 365;
  struct tm parts;
  gmtime_r(&when, &parts);
  strftime(text, sizeof text, "%F %T", &parts);
  g_number = g_number + static_cast<double>(strlen(text)) + sin(g_number) + pow(1.5, g_number / 1e5);
  memmove(text + 3, text, 150);
  memset(text, 1, sizeof text);
  stop_stepping();
}

void allocator() {
  start_stepping();
  void* blocks[20];
  for (size_t i = 0; i < 20; ++i) blocks[i] = malloc(i * 700);
  for (auto*& block : blocks) block = realloc(block, 900);
  for (auto* block : blocks) free(block);
  free(calloc(10, 100'000));
  stop_stepping();
}

void clocks() {
  start_stepping();
  timespec now;
  for (const clockid_t clock :
       {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_MONOTONIC_COARSE, CLOCK_PROCESS_CPUTIME_ID}) {
    clock_gettime(clock, &now);
  }
  timeval then;
  gettimeofday(&then, nullptr);
  g_number = g_number + static_cast<double>(time(nullptr));
  stop_stepping();
}

// None of these was called before: each goes through the loader's resolver once. The program is linked with
// lazy binding.
void binding() {
  start_stepping();
  g_number = fabs(cbrt(g_number)) + hypot(1, g_number);
  g_number = g_number + static_cast<double>(labs(getppid()) + ffs(12));
  g_number = g_number + static_cast<double>(strcspn("abc", "c") + strspn("abc", "ab"));
  stop_stepping();
}

[[gnu::noipa]] void thrower(int depth, std::string& text) {
  struct Cleanup {
    std::string* text;
    ~Cleanup() { *text += 'x'; }
  } cleanup{&text};
  if (depth == 0) throw std::runtime_error("thrown");
  thrower(depth - 1, text);
  text += 'y';
}

void exceptions() {
  std::string text;
  start_stepping();
  try {
    thrower(2, text);
  } catch (const std::exception& error) {
    text += error.what();
  }
  stop_stepping();
}

[[gnu::noipa]] void grown(std::size_t size) {
  alignas(64) volatile char bytes[128];
  auto* more = static_cast<volatile char*>(alloca(size));
  bytes[0] = 1;
  more[size - 1] = bytes[0];
}
[[gnu::noipa]] void realigned() {
  alignas(128) volatile char bytes[300];
  bytes[9] = 1;
  g_number = g_number + bytes[9];
}

jmp_buf g_jump;
[[gnu::noipa]] void jumps() { longjmp(g_jump, 1); }

void shapes() {
  start_stepping();
  grown(100);
  grown(5000);
  realigned();
  if (setjmp(g_jump) == 0) jumps();
  stop_stepping();
}

ucontext_t g_main;
ucontext_t g_coroutine;
void coroutine() {
  start_stepping();
  g_number = g_number + 1;
  realigned();
  stop_stepping();
}

void contexts() {
  static char stack[64 * 1024];
  start_stepping();
  getcontext(&g_coroutine);
  g_coroutine.uc_stack.ss_sp = stack;
  g_coroutine.uc_stack.ss_size = sizeof stack;
  g_coroutine.uc_link = &g_main;
  makecontext(&g_coroutine, coroutine, 0);
  stop_stepping();
  swapcontext(&g_main, &g_coroutine);  // its own tables end in the middle of it
}

}  // namespace

int main(int argc, char** argv) {
  if (!compare_stack_here || argc != 2) return 2;
  const std::size_t size = 256 * 1024;
  stack_t stack{};
  stack.ss_sp = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  stack.ss_size = size;
  struct sigaction action {};
  action.sa_handler = on_trap;
  action.sa_flags = SA_ONSTACK;
  if (sigaltstack(&stack, nullptr) != 0 || sigaction(SIGTRAP, &action, nullptr) != 0) return 1;
  const struct {
    const char* name;
    void (*run)();
  } cases[] = {{"libc", libc},        {"allocator", allocator},   {"clocks", clocks},
               {"binding", binding},  {"exceptions", exceptions}, {"shapes", shapes},
               {"contexts", contexts}};
  for (const auto& one : cases) {
    if (strcmp(one.name, argv[1]) == 0) one.run();
  }
  return g_steps > 30 ? 0 : 1;
}
