// The shim's constructor and destructor: everything that happens before and after the program.
//
// Inert, silently: under AT_SECURE (the environment is an attacker's), under sanitizers and valgrind (they
// own malloc), with MEMTRACE=0, and for executables that MEMTRACE_ONLY leaves out. Any failure here leaves an
// inert shim (P5).
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/random.h>

#include "preload/counters.hpp"
#include "preload/real.hpp"
#include "preload/snapshot_thread.hpp"
#include "preload/sys/memory_left.hpp"
#include "preload/sys/old_symbols.hpp"
#include "preload/sys/syscalls.hpp"
#include "preload/tracker.hpp"
#include "preload/triggers.hpp"

#include "preload/no_heap.hpp"

extern "C" char** environ;

// Weak references, not dlsym: a failing dlsym allocates its message in the program's heap.
extern "C" {
[[gnu::weak]] void __asan_init();
[[gnu::weak]] void __tsan_init();
[[gnu::weak]] void __msan_init();
[[gnu::weak]] void __hwasan_init();
}

namespace memtrace {
namespace {

bool another_tool_owns_malloc() {
  if (__asan_init || __tsan_init || __msan_init || __hwasan_init) return true;
  for (char** entry = environ; entry && *entry; ++entry) {
    const std::string_view text(*entry);
    constexpr std::string_view kPreload = "LD_PRELOAD=";
    if (text.size() > kPreload.size() && std::string_view(text.data(), kPreload.size()) == kPreload &&
        text.find("vgpreload") != std::string_view::npos) {
      return true;
    }
  }
  return false;
}

// Whether the program itself defines the symbol found at `code`. A program that merely takes malloc's address
// has a stub of that name, too, but as an undefined symbol.
bool defined_at(const void* code) {
  using Lookup = int (*)(const void* code, Dl_info* info, void** extra, int flags);
  void* symbol = dlsym(RTLD_DEFAULT, "dladdr1");  // musl has none
  if (!symbol) return false;
  Lookup lookup;
  __builtin_memcpy(&lookup, &symbol, sizeof lookup);
  Dl_info info{};
  void* entry = nullptr;
  constexpr int kSymbolEntry = 1;  // RTLD_DL_SYMENT
  return lookup(code, &info, &entry, kSymbolEntry) != 0 && entry &&
         static_cast<const ElfW(Sym)*>(entry)->st_shndx != SHN_UNDEF;
}

bool is_program(const Dl_info& module) {
  Dl_info program{};
  const auto* entry = reinterpret_cast<const void*>(getauxval(AT_ENTRY));
  return dladdr(entry, &program) != 0 && program.dli_fbase == module.dli_fbase;
}

// Who has the program's heap instead of the allocator below us: a malloc library preloaded before us, or the
// program with a malloc of its own. We would see only the functions that it lacks; and capturing while it
// maps memory for itself, its lock held, would deadlock in an unwinder that allocates.
bool another_has_the_heap(Dl_info& who) {
  Dl_info ours{};
  void* code = dlsym(RTLD_DEFAULT, "malloc");
  if (dladdr(code, &who) == 0 || dladdr(&g_tracker, &ours) == 0) return false;
  return is_program(who) ? defined_at(code) : who.dli_fbase != ours.dli_fbase;
}

void say_who_has_the_heap(const Dl_info& who) {
  Line line;
  line << std::string_view(who.dli_fname)
       << (is_program(who) ? " brings its own malloc, and nothing of its heap is recorded"
                           : " comes before libmemtrace.so and has the heap, of which nothing is recorded: "
                             "put libmemtrace.so "
                             "first in LD_PRELOAD");
  diag::say(LogLevel::kWarn, line);
}

// The module of the allocator that the program's heap comes from.
int note_allocator(dl_phdr_info* info, std::size_t, void* code) {
  const auto target = reinterpret_cast<std::uintptr_t>(code);
  std::uintptr_t begin = UINTPTR_MAX;
  std::uintptr_t end = 0;
  bool holds = false;
  for (unsigned i = 0; i < info->dlpi_phnum; ++i) {
    const auto& segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD) continue;
    const std::uintptr_t from = info->dlpi_addr + segment.p_vaddr;
    const std::uintptr_t to = from + segment.p_memsz;
    if (from < begin) begin = from;
    if (to > end) end = to;
    holds = holds || (target >= from && target < to);
  }
  if (!holds) return 0;
  g_tracker.allocator_begin = begin;
  g_tracker.allocator_end = end;
  return 1;
}

void say_if_fallen_back(UnwindChoice choice) {
  if (choice == UnwindChoice::kFramePointer || std::string_view(g_tracker.unwinder.name) != "fp") return;
  Line line;
  switch (choice) {
    case UnwindChoice::kLibunwind:
      line << "MEMTRACE_UNWIND=libunwind: libunwind.so.8 cannot be opened (Debian package libunwind8)";
      break;
    case UnwindChoice::kBoost:
      line << "MEMTRACE_UNWIND=boost: libmemtrace-boost.so cannot be opened; it is installed beside "
              "libmemtrace.so";
      break;
    default:
      line << "no memory for unwind rules";
      break;
  }
  line << "; using frame pointers";
  diag::say(LogLevel::kWarn, line);
}

// What a limit leaves is the program's first: where it is little, the few MiB that tracing begins with may be
// what the program needs.
bool leaves_enough(std::uint64_t left) {
  constexpr std::uint64_t kMiB = 1 << 20;
  constexpr std::uint64_t kEnough = 64 * kMiB;
  if (left >= kEnough) return true;
  Line line;
  line << "nothing is traced: the limit on memory (ulimit -v, -d) leaves " << left / kMiB
       << " MiB of at least " << kEnough / kMiB;
  diag::say(LogLevel::kWarn, line);
  return false;
}

std::uint64_t draw_seed() {
  std::uint64_t seed = 0;
  if (sys::call(SYS_getrandom, &seed, sizeof seed, GRND_NONBLOCK) != sizeof seed) {
    seed =
        static_cast<std::uint64_t>(sys::clock_ns(CLOCK_MONOTONIC)) ^ reinterpret_cast<std::uint64_t>(&seed);
  }
  return seed;
}

// False: this process is none of ours.
bool start_tracing() {
  real::resolve();
  (void)sys::find_clock();
  if (getauxval(AT_SECURE) != 0) return false;
  diag::start();
  Options options;
  read_options(environ, options);
  if (options.enabled == Options::Enabled::kOff) return false;
  if (options.enabled != Options::Enabled::kForced && another_tool_owns_malloc()) return false;
  g_snapshotter.learn_names();
  if (!matches_any(options.only, g_snapshotter.program_name()) &&
      !matches_any(options.only, g_snapshotter.executable_name())) {
    return false;
  }
  const std::uint64_t memory_left = sys::memory_left();
  if (!leaves_enough(memory_left)) return false;
  if (!g_snapshotter.start(options) || !g_snapshot_thread.start()) return false;

  Dl_info library{};
  auto* allocator = reinterpret_cast<void*>(real::allocator_code());
  if (another_has_the_heap(library)) {
    say_who_has_the_heap(library);
    g_tracker.record_heap = false;
    allocator = library.dli_saddr;
  }
  real::look_for_nesting();
  // glibc maps by names of its own, which do not come to our hooks; and what returns into it may be the
  // program's call for all that, the last one of a function that glibc calls.
  if (!g_tracker.record_heap || g_real.nest) dl_iterate_phdr(note_allocator, allocator);
  real::seal();
  tracker::start(options, options.seed ? options.seed : draw_seed(), memory_left);
  say_if_fallen_back(options.unwind);
  triggers::start(options);
  return true;
}

[[gnu::constructor]] void start() {
  const InHook hook;  // what we call may allocate: not the program's
  const int saved_errno = errno;
  // Disarmed, threads leave the cold path once and for all; before start they would come back with every
  // allocation.
  if (!start_tracing()) tracker::disarm();
  errno = saved_errno;
}

[[gnu::destructor]] void finish() { triggers::at_exit(); }

}  // namespace
}  // namespace memtrace
