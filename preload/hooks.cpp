// The exported functions. Each calls the real function and tells the tracker; no logic lives here.
//
// Order (P2): allocation: real call, then record. Free and unmap: erase, then real call. Resize: take out,
// call, record the new or put the old one back.
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>

#include "preload/confinement.hpp"
#include "preload/real.hpp"
#include "preload/tracker.hpp"
#include "preload/triggers.hpp"

#if defined(MEMTRACE_IN_PROCESS)
// Sanitizers own malloc in test builds: there the hooks have names of their own and are called directly.
#define MEMTRACE_EXPORT(name) memtrace_hook_##name
#else
#define MEMTRACE_EXPORT(name) name
#endif

using namespace memtrace;

namespace {

// rbp as the program left it: this file is compiled with rbp fixed, so nothing here has touched it.
[[gnu::always_inline]] inline const void* frame_pointer() {
  const void* rbp;
  asm("mov %%rbp, %0" : "=r"(rbp));
  return rbp;
}

template <class... Arguments>
[[gnu::always_inline]] inline void* allocate_aligned(void* (*call)(Arguments...), std::size_t size,
                                                     Caller caller, Arguments... arguments) {
  void* block;
  {
    const NestedCalls nested;
    block = call(arguments...);
  }
  tracker::allocated(block, size, caller);
  return block;
}

}  // namespace

#define MEMTRACE_CALLER (Caller{__builtin_dwarf_cfa(), frame_pointer()})

#pragma GCC visibility push(default)
extern "C" {

// The step is taken back, so that a handler that interrupts the real call is not tried with it. Not cold: in
// mode all it is every call.
[[gnu::noinline]] static void* malloc_slowly(std::size_t size, Caller caller) {
  Sampler::unstep(size);
  void* block = g_real.malloc(size);
  return tracker::allocated_probably(block, size, caller);
}

// Tried before the real call, which is then the last thing to do: nothing to keep, no frame. A trial for
// memory that is not to be had says nothing about the next one.
void* MEMTRACE_EXPORT(malloc)(std::size_t size) {
  if (Sampler::step(size)) [[unlikely]] {
    return malloc_slowly(size, MEMTRACE_CALLER);
  }
  return g_real.malloc(size);
}

[[gnu::noinline]] static void free_slowly(void* block, void (*call)(void*)) {
  if (real::is_bootstrap(block)) return;
  if (!tracker::erased_shortly(block)) tracker::freed(block);
  call(block);
}

void MEMTRACE_EXPORT(free)(void* block) {
  if (tracker::may_be_live(block)) [[unlikely]] {
    return free_slowly(block, g_real.free);
  }
  g_real.free(block);
}

void MEMTRACE_EXPORT(cfree)(void* block) {
  if (tracker::may_be_live(block)) [[unlikely]] {
    return free_slowly(block, g_real.cfree);
  }
  g_real.cfree(block);
}

// Where the allocator's functions do not call one another by name, a block is tried as malloc's: before the
// real call. True: take the long way, which tries it anew.
[[gnu::always_inline]] static inline bool asks_for_long_way(std::size_t size) {
  if (g_real.nest) [[unlikely]] {
    return true;
  }
  if (!Sampler::step(size)) [[likely]] {
    return false;
  }
  Sampler::unstep(size);
  return true;
}

[[gnu::noinline]] static void* calloc_slowly(std::size_t count, std::size_t size, std::size_t bytes,
                                             Caller caller) {
  void* block;
  {
    const NestedCalls nested;
    block = g_real.calloc(count, size);
  }
  return tracker::allocated_probably(block, bytes, caller);
}

void* MEMTRACE_EXPORT(calloc)(std::size_t count, std::size_t size) {
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes)) [[unlikely]] {
    return g_real.calloc(count, size);  // fails by itself
  }
  if (asks_for_long_way(bytes)) [[unlikely]] {
    return calloc_slowly(count, size, bytes, MEMTRACE_CALLER);
  }
  return g_real.calloc(count, size);
}

// realloc and reallocarray, whose real functions differ in their arguments only.
using Resize = void* (*)(void* old, std::size_t a, std::size_t b);

[[gnu::noinline]] static void* resize_slowly(void* old, std::size_t size, Resize call, std::size_t a,
                                             std::size_t b, Caller caller) {
  if (real::is_bootstrap(old)) {
    void* block = call(nullptr, a, b);
    const std::size_t had = real::bootstrap_size(old);
    if (block) __builtin_memcpy(block, old, had < size ? had : size);
    return block;
  }
  tracker::TakenRecord taken;
  if (old && tracker::may_be_live(old)) tracker::take(old, taken);
  void* block;
  {
    const NestedCalls nested;
    block = call(old, a, b);
  }
  if (block) {
    tracker::resized(taken, block, size);
  } else if (size != 0 || !old) {  // of size 0 it was freed in glibc, which says so with a null pointer
    tracker::put_back(taken);
  }
  return tracker::allocated_probably(block, size, caller);
}

void* MEMTRACE_EXPORT(realloc)(void* old, std::size_t size) {
  if (tracker::may_be_live(old) || asks_for_long_way(size)) [[unlikely]] {
    return resize_slowly(
        old, size, [](void* block, std::size_t bytes, std::size_t) { return g_real.realloc(block, bytes); },
        size, 0, MEMTRACE_CALLER);
  }
  return g_real.realloc(old, size);
}

void* MEMTRACE_EXPORT(reallocarray)(void* old, std::size_t count, std::size_t size) {
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    return g_real.reallocarray(old, count, size);  // fails by itself
  }
  return resize_slowly(
      old, bytes,
      [](void* block, std::size_t n, std::size_t each) { return g_real.reallocarray(block, n, each); }, count,
      size, MEMTRACE_CALLER);
}

int MEMTRACE_EXPORT(posix_memalign)(void** out, std::size_t alignment, std::size_t size) {
  int result;
  {
    const NestedCalls nested;
    result = g_real.posix_memalign(out, alignment, size);
  }
  if (result == 0) tracker::allocated(*out, size, MEMTRACE_CALLER);
  return result;
}

void* MEMTRACE_EXPORT(aligned_alloc)(std::size_t alignment, std::size_t size) {
  return allocate_aligned(g_real.aligned_alloc, size, MEMTRACE_CALLER, alignment, size);
}

void* MEMTRACE_EXPORT(memalign)(std::size_t alignment, std::size_t size) {
  return allocate_aligned(g_real.memalign, size, MEMTRACE_CALLER, alignment, size);
}

void* MEMTRACE_EXPORT(valloc)(std::size_t size) {
  return allocate_aligned(g_real.valloc, size, MEMTRACE_CALLER, size);
}

void* MEMTRACE_EXPORT(pvalloc)(std::size_t size) {
  return allocate_aligned(g_real.pvalloc, size, MEMTRACE_CALLER, size);
}

std::size_t MEMTRACE_EXPORT(malloc_usable_size)(void* block) {
  if (real::is_bootstrap(block)) return real::bootstrap_size(block);
  return g_real.malloc_usable_size(block);
}

static void* map(void* (*call)(void*, std::size_t, int, int, int, long), void* address, std::size_t size,
                 int protection, int flags, int fd, long offset, Caller caller) {
  tracker::TakenRange taken;
  if (flags & MAP_FIXED) tracker::take_range(address, size, taken);  // what lies there is unmapped
  void* result = call(address, size, protection, flags, fd, offset);
  if (result == MAP_FAILED) {
    tracker::put_back(taken);
    return result;
  }
  tracker::forget(taken);
  tracker::mapped(result, size, protection, flags, caller);
  return result;
}

void* MEMTRACE_EXPORT(mmap)(void* address, std::size_t size, int protection, int flags, int fd, long offset) {
  return map(g_real.mmap, address, size, protection, flags, fd, offset, MEMTRACE_CALLER);
}

void* MEMTRACE_EXPORT(mmap64)(void* address, std::size_t size, int protection, int flags, int fd,
                              long offset) {
  return map(g_real.mmap64, address, size, protection, flags, fd, offset, MEMTRACE_CALLER);
}

int MEMTRACE_EXPORT(munmap)(void* address, std::size_t size) {
  tracker::TakenRange taken;
  tracker::take_range(address, size, taken);
  const int result = g_real.munmap(address, size);
  if (result == 0) {
    tracker::forget(taken);
  } else {
    tracker::put_back(taken);
  }
  return result;
}

void* MEMTRACE_EXPORT(mremap)(void* old, std::size_t old_size, std::size_t size, int flags, ...) {
  __builtin_va_list arguments;
  __builtin_va_start(arguments, flags);
  void* where =
      __builtin_va_arg(arguments, void*);  // garbage unless flags ask for it, and then unused by the kernel
  __builtin_va_end(arguments);

  AllocKind kind{};
  const bool known = tracker::mapping_kind(old, kind);
  tracker::TakenRange taken;
  tracker::TakenRange overlaid;
  tracker::take_range(old, old_size, taken);
  if (flags & MREMAP_FIXED) tracker::take_range(where, size, overlaid);
  void* result = g_real.mremap(old, old_size, size, flags, where);
  if (result == MAP_FAILED) {
    tracker::put_back(overlaid);
    tracker::put_back(taken);
    return result;
  }
  tracker::forget(overlaid);
  if (flags & MREMAP_DONTUNMAP) {
    tracker::put_back(taken);
  } else {
    tracker::moved(taken, result, size);
  }
  if (known) tracker::remapped(result, size, kind, MEMTRACE_CALLER);
  return result;
}

int MEMTRACE_EXPORT(sigaction)(int number, const struct sigaction* action, struct sigaction* old) {
  return triggers::set_action(number, action, old);
}

// What glibc calls signal depends on the feature macros a program is compiled with.
constexpr int kBsdSignal = SA_RESTART;
constexpr int kSystemVSignal = static_cast<int>(SA_RESETHAND | SA_NODEFER);

sighandler_t MEMTRACE_EXPORT(signal)(int number, sighandler_t handler) {
  return triggers::set_handler(number, handler, kBsdSignal, g_real.signal);
}

sighandler_t MEMTRACE_EXPORT(bsd_signal)(int number, sighandler_t handler) {
  return triggers::set_handler(number, handler, kBsdSignal, g_real.bsd_signal);
}

sighandler_t MEMTRACE_EXPORT(ssignal)(int number, sighandler_t handler) {
  return triggers::set_handler(number, handler, kBsdSignal, g_real.ssignal);
}

sighandler_t MEMTRACE_EXPORT(sysv_signal)(int number, sighandler_t handler) {
  return triggers::set_handler(number, handler, kSystemVSignal, g_real.sysv_signal);
}

sighandler_t MEMTRACE_EXPORT(__sysv_signal)(int number, sighandler_t handler) {
  return triggers::set_handler(number, handler, kSystemVSignal, g_real.__sysv_signal);
}

sighandler_t MEMTRACE_EXPORT(sigset)(int number, sighandler_t handler) {
  return triggers::set_handler_and_mask(number, handler);
}

int MEMTRACE_EXPORT(sigignore)(int number) { return triggers::ignore(number); }

int MEMTRACE_EXPORT(siginterrupt)(int number, int interrupting) {
  return triggers::set_interrupting(number, interrupting != 0);
}

int MEMTRACE_EXPORT(prctl)(int option, ...) {
  if (confinement::begins_with(option)) triggers::confine();
  __builtin_va_list arguments;
  __builtin_va_start(arguments, option);
  const int result = real::prctl(option, arguments);
  __builtin_va_end(arguments);
  return result;
}

int MEMTRACE_EXPORT(unshare)(int flags) {
  constexpr int kAlone = CLONE_NEWUSER | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM;
  const triggers::HeldOff alone((flags & kAlone) != 0);
  return g_real.unshare(flags);
}

int MEMTRACE_EXPORT(setns)(int fd, int kind) {
  const triggers::HeldOff alone(true);
  return g_real.setns(fd, kind);
}

}  // extern "C"
#pragma GCC visibility pop
