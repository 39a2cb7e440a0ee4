// The shim's constructor and destructor: everything that happens before and after the program.
//
// Inert, silently: under AT_SECURE (the environment is an attacker's), under sanitizers and valgrind (they
// own malloc), with MEMTRACE=0, and for executables that MEMTRACE_ONLY leaves out. Any failure here leaves an
// inert shim (P5).
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <sys/auxv.h>

#include "preload/counters.hpp"
#include "preload/real.hpp"
#include "preload/snapshot_thread.hpp"
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

// The malloc library preloaded before us, which has the program's heap: we would see only the functions that
// it lacks. Not the program itself: there dlsym may find the mere stub by which it takes malloc's address.
bool another_library_has_the_heap(Dl_info& library) {
  Dl_info ours{};
  Dl_info program{};
  const auto* entry = reinterpret_cast<const void*>(getauxval(AT_ENTRY));
  return dladdr(dlsym(RTLD_DEFAULT, "malloc"), &library) != 0 && dladdr(&g_tracker, &ours) != 0 &&
         dladdr(entry, &program) != 0 && library.dli_fbase != ours.dli_fbase &&
         library.dli_fbase != program.dli_fbase;
}

void say_who_has_the_heap(const Dl_info& library) {
  Line line;
  line << std::string_view(library.dli_fname)
       << " comes before libmemtrace.so and has the heap, of which nothing is recorded: put libmemtrace.so "
          "first in "
          "LD_PRELOAD";
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

std::uint64_t draw_seed() {
  std::uint64_t seed = 0;
  if (sys::call(SYS_getrandom, &seed, sizeof seed, 0) != sizeof seed) {
    seed =
        static_cast<std::uint64_t>(sys::clock_ns(CLOCK_MONOTONIC)) ^ reinterpret_cast<std::uint64_t>(&seed);
  }
  return seed;
}

[[gnu::constructor]] void start() {
  const InHook hook;  // what we call may allocate: not the program's
  const int saved_errno = errno;
  real::resolve();
  if (getauxval(AT_SECURE) != 0) return;
  diag::start();
  Options options;
  read_options(environ, options);
  if (options.enabled == Options::Enabled::kOff) return;
  if (options.enabled != Options::Enabled::kForced && another_tool_owns_malloc()) return;
  if (!g_snapshotter.start(options) || !g_snapshot_thread.start()) return;
  if (!matches_any(options.only, g_snapshotter.program_name()) &&
      !matches_any(options.only, g_snapshotter.executable_name())) {
    return;
  }

  Dl_info library{};
  auto* allocator = reinterpret_cast<void*>(real::allocator_code());
  if (another_library_has_the_heap(library)) {
    say_who_has_the_heap(library);
    g_tracker.record_heap = false;
    allocator = library.dli_saddr;
  }
  dl_iterate_phdr(note_allocator, allocator);
  real::seal();
  g_tracker.unwinder = choose_unwinder(options.unwind);
  if (options.unwind == UnwindChoice::kLibunwind &&
      std::string_view(g_tracker.unwinder.name) != "libunwind") {
    Line line;
    line << "MEMTRACE_UNWIND=libunwind: libunwind.so.8 cannot be opened (Debian package libunwind8); using "
            "frame pointers";
    diag::say(LogLevel::kWarn, line);
  }
  tracker::start(options, options.seed ? options.seed : draw_seed());
  triggers::start(options);
  errno = saved_errno;
}

[[gnu::destructor]] void finish() { triggers::at_exit(); }

}  // namespace
}  // namespace memtrace
