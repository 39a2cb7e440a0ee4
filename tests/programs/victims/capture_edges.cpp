// Allocations where stacks are hard to capture: while code is loaded, unloaded and thrown through; from
// generated code; on stacks that were something else a moment ago; with a frame pointer that is none.
//
//   capture_edges CASE [PLUGIN]     exits 0 when the program saw what it would have seen without the shim
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <atomic>
#include <stdexcept>
#include <thread>

#include "tests/programs/victims/cases.hpp"
#include "tests/programs/victims/truth.h"

extern "C" void __register_frame(void*);
extern "C" void __deregister_frame(void*);
extern "C" void with_frame_pointer(void (*call)(), std::uintptr_t rbp);

// A function without unwind rules, so that its caller is looked for by rbp, whatever it holds.
asm(R"(
.text
.type with_frame_pointer, @function
with_frame_pointer:
  push %rbp
  mov %rsi, %rbp
  call *%rdi
  pop %rbp
  ret
.size with_frame_pointer, .-with_frame_pointer
)");

namespace {

constexpr std::size_t kPage = 4096;
const char* g_plugin = nullptr;
std::atomic<bool> g_stop{false};

[[gnu::noipa]] void allocate() { free(malloc(100)); }
void allocate_for(void*) { allocate(); }

[[gnu::noipa]] void throw_below(int depth) {
  allocate();
  if (depth == 0) throw std::runtime_error("a message on the heap");
  throw_below(depth - 1);
}

void throw_for(void*) { throw_below(3); }

// Whoever walks the list holds the loader's lock, and may allocate.
int allocate_at_object(dl_phdr_info*, std::size_t, void*) {
  allocate();
  return 0;
}

using PluginCall = void (*)(void (*)(void*), void*);

void call_through_plugin(void (*callback)(void*)) {
  void* plugin = dlopen(g_plugin, RTLD_NOW);
  REQUIRE(plugin);
  PluginCall call;
  *reinterpret_cast<void**>(&call) = dlsym(plugin, "plugin_call");
  REQUIRE(call);
  struct Closed {
    void* plugin;
    ~Closed() { dlclose(plugin); }
  } closed{plugin};
  call(callback, nullptr);
}

// Exceptions, dlopen and dlclose, walks over the loader's list, failing lookups and snapshots, at once.
int churn() {
  constexpr int kRounds = 1000;
  const auto rounds = [](void (*body)()) {
    return std::thread([body] {
      for (int i = 0; i < kRounds; ++i) body();
    });
  };
  const auto throws = [] {
    try {
      call_through_plugin(throw_for);
    } catch (const std::runtime_error& error) {
      REQUIRE(error.what()[0] == 'a');
    }
  };
  const auto loads = [] { call_through_plugin(allocate_for); };
  const auto lists = [] { dl_iterate_phdr(allocate_at_object, nullptr); };
  const auto looks = [] { REQUIRE(!dlsym(RTLD_DEFAULT, "no_such_function") && dlerror()); };
  const auto starts = [] { std::thread(allocate).join(); };
  std::thread threads[] = {rounds(throws), rounds(throws), rounds(loads), rounds(loads),
                           rounds(lists),  rounds(looks),  rounds(starts)};
  for (int i = 0; i < 20; ++i) (void)memtrace_snapshot(nullptr, nullptr, 0);
  for (auto& thread : threads) thread.join();
  return 0;
}

// sub $8, %rsp; call *%rdi; add $8, %rsp; ret: code that no table knows, or that libgcc alone was told of.
int generated() {
  constexpr unsigned char kCode[] = {0x48, 0x83, 0xec, 0x08, 0xff, 0xd7, 0x48, 0x83, 0xc4, 0x08, 0xc3};
  std::thread registers([] {
    // A CIE and an FDE that covers nothing.
    alignas(8) static unsigned char tables[60] = {20, 0,    0, 0, 0, 0, 0, 0, 1, 0,  1, 0x78, 16, 0x0c, 7,
                                                  8,  0x90, 1, 0, 0, 0, 0, 0, 0, 28, 0, 0,    0,  28};
    while (!g_stop) {
      __register_frame(tables);
      __deregister_frame(tables);
    }
  });
  for (int i = 0; i < 300; ++i) {
    void* page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(page != MAP_FAILED);
    memcpy(page, kCode, sizeof kCode);
    reinterpret_cast<void (*)(void (*)())>(page)(allocate);
    REQUIRE(munmap(page, kPage) == 0);
    try {
      throw_below(2);
    } catch (const std::runtime_error&) {
    }
  }
  g_stop = true;
  registers.join();
  return 0;
}

// It allocates while it holds the lock of the thread that it is asked about.
int asks_for_stack() {
  for (int i = 0; i < 300; ++i) {
    pthread_attr_t attributes;
    REQUIRE(pthread_getattr_np(pthread_self(), &attributes) == 0);
    pthread_attr_destroy(&attributes);
    std::thread([] {
      pthread_attr_t own;
      REQUIRE(pthread_getattr_np(pthread_self(), &own) == 0);
      pthread_attr_destroy(&own);
    }).join();
  }
  return 0;
}

ucontext_t g_main;
ucontext_t g_coroutine;
char* g_stack = nullptr;

// body may take the argument, or none.
void run_on_stack(std::size_t bytes, void (*body)(), int argument) {
  getcontext(&g_coroutine);
  g_coroutine.uc_stack.ss_sp = g_stack;
  g_coroutine.uc_stack.ss_size = bytes;
  g_coroutine.uc_link = &g_main;
  makecontext(&g_coroutine, body, 1, argument);
  swapcontext(&g_main, &g_coroutine);
}

[[gnu::noipa]] void descend(int depth) {
  char bytes[1000];
  memset(bytes, depth, sizeof bytes);
  if (depth > 0) {
    descend(depth - 1);
  } else {
    for (const int protection : {PROT_NONE, PROT_READ | PROT_WRITE}) {
      REQUIRE(mprotect(g_stack + 6 * kPage, 2 * kPage, protection) == 0);
      allocate();
    }
  }
  asm volatile("" : : "r"(bytes) : "memory");
}

// A coroutine's own callers lie in pages that forbid reading while it allocates.
int unreadable_callers() {
  g_stack = static_cast<char*>(
      mmap(nullptr, 8 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  REQUIRE(g_stack != MAP_FAILED);
  for (int i = 0; i < 50; ++i) {
    run_on_stack(8 * kPage, reinterpret_cast<void (*)()>(descend), 12 + i % 4);
  }
  return 0;
}

// Coroutine stacks right below the stack of a thread that has no guard page; one in between is unmapped, and
// the frame pointer of the one below leads there.
constexpr std::size_t kEach = 64 * kPage;
std::uintptr_t g_rbp = 0;

void allocate_with_rbp() {
  for (int i = 0; i < 20; ++i) with_frame_pointer(allocate, g_rbp);
}

void run_lowest(char* hole) {
  g_rbp = reinterpret_cast<std::uintptr_t>(hole);
  run_on_stack(kEach, allocate_with_rbp, 0);
}

void* run_coroutines(void*) {
  allocate();
  run_lowest(nullptr);
  REQUIRE(munmap(g_stack + kEach, kEach) == 0);
  run_lowest(g_stack + kEach + kPage);
  return nullptr;
}

int hole_below_stack() {
  g_stack = static_cast<char*>(
      mmap(nullptr, 4 * kEach, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  REQUIRE(g_stack != MAP_FAILED);
  pthread_attr_t attributes;
  pthread_t thread;
  REQUIRE(pthread_attr_init(&attributes) == 0);
  REQUIRE(pthread_attr_setstack(&attributes, g_stack + 2 * kEach, 2 * kEach) == 0);
  REQUIRE(pthread_create(&thread, &attributes, run_coroutines, nullptr) == 0);
  return pthread_join(thread, nullptr);
}

// rbp holds data in most code: numbers, pointers into anything.
int data_in_frame_pointer() {
  char* pages = static_cast<char*>(mmap(nullptr, 3 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  REQUIRE(mprotect(pages + kPage, kPage, PROT_READ | PROT_WRITE) == 0);
  const auto page = reinterpret_cast<std::uintptr_t>(pages);
  std::uintptr_t words[4] = {};
  words[0] = reinterpret_cast<std::uintptr_t>(words);  // a chain that leads to itself
  const auto here = reinterpret_cast<std::uintptr_t>(words);
  const std::uintptr_t values[] = {0,
                                   1,
                                   8,
                                   kPage,
                                   page,
                                   page + kPage - 8,
                                   page + kPage,
                                   page + 2 * kPage - 16,
                                   page + 2 * kPage - 8,
                                   page + 2 * kPage,
                                   here,
                                   here + 1,
                                   here - 4096,
                                   here + (std::uintptr_t{1} << 20),
                                   reinterpret_cast<std::uintptr_t>(&g_main),
                                   reinterpret_cast<std::uintptr_t>(allocate),
                                   0x7fffffffeff8,
                                   0x7ffffffffff8,
                                   0x800000000000,
                                   0xffffffffff600000,
                                   static_cast<std::uintptr_t>(-1),
                                   static_cast<std::uintptr_t>(-8),
                                   static_cast<std::uintptr_t>(-16)};
  const auto all = [&] {
    for (const std::uintptr_t value : values) {
      for (int i = 0; i < 3; ++i) with_frame_pointer(allocate, value);
    }
  };
  all();
  std::thread(all).join();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 2) g_plugin = argv[2];
  return run_case(argc, argv,
                  {{"churn", churn},
                   {"generated", generated},
                   {"asks_for_stack", asks_for_stack},
                   {"unreadable_callers", unreadable_callers},
                   {"data_in_frame_pointer", data_in_frame_pointer},
                   {"hole_below_stack", hole_below_stack}});
}
