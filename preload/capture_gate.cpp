#include "preload/capture_gate.hpp"

#include <dlfcn.h>

#include "preload/sys/old_symbols.hpp"
#include "preload/sys/syscalls.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

constinit CaptureGate* g_gate = nullptr;  // atfork handlers take no argument

}  // namespace

void CaptureGate::start() {
  g_gate = this;
  // What pthread_atfork is in glibc. Asked for by name: linking it would tie the shim to one libc.
  using Register = int (*)(void (*prepare)(), void (*parent)(), void (*child)(), void* object);
  void* symbol = dlsym(RTLD_DEFAULT, "__register_atfork");
  if (!symbol) return;
  Register function;
  __builtin_memcpy(&function, &symbol, sizeof function);
  // The child is set up on its first cold path, however it was made: no handler for it.
  (void)function(before_fork, after_fork_in_parent, nullptr, nullptr);
}

void CaptureGate::before_fork() {
  CaptureGate& gate = *g_gate;
  gate.forking_.store(true);
  const std::int64_t give_up_at = sys::clock_ns(CLOCK_MONOTONIC) + kPatienceNs;
  while (gate.buffers_.taken() > gate.abandoned_.load()) {
    if (sys::clock_ns(CLOCK_MONOTONIC) >= give_up_at) break;
    sys::call(SYS_sched_yield);
  }
}

void CaptureGate::after_fork_in_parent() {
  CaptureGate& gate = *g_gate;
  const std::uint32_t left = gate.buffers_.taken();
  if (left > gate.abandoned_.load()) gate.abandoned_.store(left);
  gate.forking_.store(false);
}

CaptureBuffers::Buffer* CaptureGate::enter(std::uint32_t hint) {
  std::int64_t give_up_at = 0;
  for (;;) {
    CaptureBuffers::Buffer* buffer = buffers_.borrow(hint);
    if (!buffer || !forking_.load()) [[likely]] {
      return buffer;
    }
    const std::int64_t now = sys::clock_ns(CLOCK_MONOTONIC);
    if (give_up_at == 0) give_up_at = now + 2 * kPatienceNs;
    if (now >= give_up_at) return buffer;
    buffers_.give_back(buffer);
    // A sleep that a sandbox allows: nobody wakes this word.
    static constinit std::uint32_t nobody = 0;
    const timespec moment{0, 100'000};
    sys::futex_wait(&nobody, 0, &moment);
  }
}

bool CaptureGate::reset_after_fork() {
  const bool unsafe = buffers_.taken() > abandoned_.load();
  buffers_.reset_after_fork();
  abandoned_.store(0);
  forking_.store(false);
  return unsafe;
}

}  // namespace memtrace
