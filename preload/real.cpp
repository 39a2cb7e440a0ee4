#include "preload/real.hpp"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include <atomic>

#include "preload/sys/old_symbols.hpp"
#include "preload/sys/page_arena.hpp"
#include "preload/sys/syscalls.hpp"
#include "preload/sys/thread_id.hpp"
#include "preload/thread_state.hpp"

namespace memtrace {
namespace {

// --- the bootstrap buffer: bump allocation, nothing is ever taken back ---

struct alignas(16) BootstrapHeader {
  std::size_t size;
};
constinit std::atomic<std::size_t> g_bootstrap_used{0};
constinit std::atomic<bool> g_bootstrap_closed{false};

void* bootstrap_take(std::size_t size) {
  if (size > real::kBootstrapBytes) return nullptr;
  const std::size_t whole = sizeof(BootstrapHeader) + ((size + 15) & ~std::size_t{15});
  std::size_t at = g_bootstrap_used.load(std::memory_order_relaxed);
  do {
    if (at + whole > real::kBootstrapBytes) return nullptr;  // dlsym copes with a failing malloc
  } while (!g_bootstrap_used.compare_exchange_weak(at, at + whole));
  if (g_bootstrap_closed.load()) return nullptr;  // who closed it may not have seen this block
  auto* header = reinterpret_cast<BootstrapHeader*>(real::g_bootstrap + at);
  header->size = size;
  return header + 1;
}

// --- stand-ins: find the real function, then call it; on the resolving thread itself, the bootstrap buffer
// ---

bool resolving() { return t_state.resolving != 0; }

void* early_malloc(std::size_t size) {
  if (resolving()) return bootstrap_take(size);
  real::resolve();
  return g_real.malloc(size);
}

void* early_calloc(std::size_t count, std::size_t size) {
  if (resolving()) {
    std::size_t bytes = 0;
    return __builtin_mul_overflow(count, size, &bytes) ? nullptr : bootstrap_take(bytes);  // .bss: zero
  }
  real::resolve();
  return g_real.calloc(count, size);
}

void* early_realloc(void* old, std::size_t size) {
  if (resolving()) {
    void* block = bootstrap_take(size);
    if (block && old && real::is_bootstrap(old)) {
      const std::size_t had = real::bootstrap_size(old);
      memcpy(block, old, had < size ? had : size);
    }
    return block;
  }
  real::resolve();
  return g_real.realloc(old, size);
}

void early_free(void* block) {
  if (resolving()) return;  // only what bootstrap_take gave
  real::resolve();
  g_real.free(block);
}

void* early_memalign(std::size_t alignment, std::size_t size) {
  if (resolving()) return alignment <= 16 ? bootstrap_take(size) : nullptr;
  real::resolve();
  return g_real.memalign(alignment, size);
}

// The others are never called by dlsym: resolve and go on.
#define MEMTRACE_EARLY(name)          \
  [](auto... arguments) {             \
    real::resolve();                  \
    return g_real.name(arguments...); \
  }

void* early_mremap(void* old, std::size_t old_size, std::size_t size, int flags, ...) {
  __builtin_va_list arguments;
  __builtin_va_start(arguments, flags);
  void* where = __builtin_va_arg(arguments, void*);
  __builtin_va_end(arguments);
  real::resolve();
  return g_real.mremap(old, old_size, size, flags, where);
}

int early_prctl(int option, ...) {
  real::resolve();
  __builtin_va_list arguments;
  __builtin_va_start(arguments, option);
  const int result = real::prctl(option, arguments);
  __builtin_va_end(arguments);
  return result;
}

// --- what a libc lacks: the hook exists, so it must answer ---

void* no_memory(std::size_t) {
  errno = ENOMEM;
  return nullptr;
}
void* no_aligned_memory(std::size_t, std::size_t) {
  errno = ENOMEM;
  return nullptr;
}
int no_posix_memalign(void**, std::size_t, std::size_t) { return ENOMEM; }
void* reallocarray_by_realloc(void* old, std::size_t count, std::size_t size) {
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    errno = ENOMEM;
    return nullptr;
  }
  return g_real.realloc(old, bytes);
}
std::size_t unknown_size(void*) { return 0; }
int no_sigignore(int number) { return g_real.signal(number, SIG_IGN) == SIG_ERR ? -1 : 0; }
int no_siginterrupt(int, int) {
  errno = ENOSYS;
  return -1;
}

// Threads that resolve at once store the same words, and who reads one meanwhile has the stand-in or the real
// function: either will do. Not for ThreadSanitizer to judge.
#define MEMTRACE_SAME_WORDS [[gnu::no_sanitize("thread")]]

template <class F>
MEMTRACE_SAME_WORDS void find(F*& slot, const char* name, F* instead) {
  void* symbol = dlsym(RTLD_NEXT, name);
  F* found = instead;
  if (symbol) memcpy(&found, &symbol, sizeof symbol);
  __atomic_store_n(&slot, found, __ATOMIC_RELEASE);
}

template <class F>
MEMTRACE_SAME_WORDS void find(F*& slot, const char* name) {
  find(slot, name,
       slot);  // required: a libc without it keeps the stand-in, and the program fails as it would have
}

}  // namespace

// It has its pages to itself (the type is padded to them): seal() protects no neighbour.
constinit RealFunctions g_real = {
    .malloc = early_malloc,
    .calloc = early_calloc,
    .realloc = early_realloc,
    .reallocarray = MEMTRACE_EARLY(reallocarray),
    .free = early_free,
    .cfree = early_free,
    .posix_memalign = MEMTRACE_EARLY(posix_memalign),
    .aligned_alloc = MEMTRACE_EARLY(aligned_alloc),
    .memalign = early_memalign,
    .valloc = MEMTRACE_EARLY(valloc),
    .pvalloc = MEMTRACE_EARLY(pvalloc),
    .malloc_usable_size = MEMTRACE_EARLY(malloc_usable_size),
    .mmap = MEMTRACE_EARLY(mmap),
    .mmap64 = MEMTRACE_EARLY(mmap64),
    .munmap = MEMTRACE_EARLY(munmap),
    .mremap = early_mremap,
    .sigaction = MEMTRACE_EARLY(sigaction),
    .signal = MEMTRACE_EARLY(signal),
    .bsd_signal = MEMTRACE_EARLY(bsd_signal),
    .ssignal = MEMTRACE_EARLY(ssignal),
    .sysv_signal = MEMTRACE_EARLY(sysv_signal),
    .__sysv_signal = MEMTRACE_EARLY(__sysv_signal),
    .sigset = MEMTRACE_EARLY(sigset),
    .sigignore = MEMTRACE_EARLY(sigignore),
    .siginterrupt = MEMTRACE_EARLY(siginterrupt),
    .prctl = early_prctl,
    .unshare = MEMTRACE_EARLY(unshare),
    .setns = MEMTRACE_EARLY(setns),
};

namespace real {

alignas(16) constinit char g_bootstrap[kBootstrapBytes];

namespace {

constinit std::atomic<std::uint32_t> g_resolvers{0};
constinit std::atomic<bool> g_sealed{false};

}  // namespace

MEMTRACE_SAME_WORDS void resolve() {
  if (t_state.resolving) return;
  g_resolvers.fetch_add(1);
  if (g_sealed.load()) {  // complete, and about to be read-only
    g_resolvers.fetch_sub(1);
    return;
  }
  t_state.resolving = 1;
  const int saved_errno = errno;
  // The inner functions last: until malloc is in place, calls from other threads resolve for themselves.
  find(g_real.malloc_usable_size, "malloc_usable_size", unknown_size);
  find(g_real.posix_memalign, "posix_memalign", no_posix_memalign);
  find(g_real.aligned_alloc, "aligned_alloc", no_aligned_memory);
  find(g_real.memalign, "memalign", no_aligned_memory);
  find(g_real.valloc, "valloc", no_memory);
  find(g_real.pvalloc, "pvalloc", no_memory);
  find(g_real.mmap, "mmap");
  find(g_real.mmap64, "mmap64", g_real.mmap);
  find(g_real.munmap, "munmap");
  find(g_real.mremap, "mremap");
  find(g_real.sigaction, "sigaction");
  find(g_real.signal, "signal");
  find(g_real.bsd_signal, "bsd_signal", g_real.signal);
  find(g_real.ssignal, "ssignal", g_real.signal);
  find(g_real.sysv_signal, "sysv_signal", g_real.signal);
  find(g_real.__sysv_signal, "__sysv_signal", g_real.signal);
  find(g_real.sigset, "sigset", g_real.signal);
  find(g_real.sigignore, "sigignore", no_sigignore);
  find(g_real.siginterrupt, "siginterrupt", no_siginterrupt);
  find(g_real.prctl, "prctl");
  find(g_real.unshare, "unshare");
  find(g_real.setns, "setns");
  find(g_real.reallocarray, "reallocarray", reallocarray_by_realloc);
  find(g_real.calloc, "calloc");
  find(g_real.realloc, "realloc");
  find(g_real.free, "free");
  g_real.cfree = g_real.free;
  find(g_real.malloc, "malloc");
  errno = saved_errno;
  t_state.resolving = 0;
  g_resolvers.fetch_sub(1);
}

void look_for_nesting() {
  const auto object_of = [](const void* code) -> const void* {
    Dl_info info{};
    return code && dladdr(code, &info) ? info.dli_fbase : nullptr;
  };
  const auto code = [](auto* function) { return reinterpret_cast<const void*>(function); };
  const void* const glibc = object_of(code(gnu_get_libc_version));
  g_real.nest = !glibc || object_of(code(g_real.calloc)) != glibc || object_of(code(g_real.realloc)) != glibc;
}

void seal() {
  g_sealed.store(true);
  if (g_resolvers.load() != 0) return;  // another thread is still storing the same values: leave it writable
  sys::call(SYS_mprotect, &g_real, round_to_pages(sizeof g_real), PROT_READ);
}

int prctl(int option, __builtin_va_list arguments) {
  const auto a = __builtin_va_arg(arguments, unsigned long);
  const auto b = __builtin_va_arg(arguments, unsigned long);
  const auto c = __builtin_va_arg(arguments, unsigned long);
  const auto d = __builtin_va_arg(arguments, unsigned long);
  return g_real.prctl(option, a, b, c, d);
}

std::uintptr_t allocator_code() { return reinterpret_cast<std::uintptr_t>(g_real.malloc); }

std::size_t bootstrap_size(const void* block) {
  return (static_cast<const BootstrapHeader*>(block) - 1)->size;
}

std::size_t close_bootstrap() {
  g_bootstrap_closed.store(true);
  return g_bootstrap_used.load();
}

}  // namespace real
}  // namespace memtrace
