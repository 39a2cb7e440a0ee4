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
  gate.forking_.fetch_add(1);
  const std::int64_t give_up_at = sys::clock_ns(CLOCK_MONOTONIC) + kPatienceNs;
  while (const std::uint64_t waited_for = gate.buffers_.taken() & ~gate.abandoned_.load()) {
    if (sys::clock_ns(CLOCK_MONOTONIC) >= give_up_at) {
      gate.stuck_.fetch_or(waited_for);
      break;
    }
    sys::call(SYS_sched_yield);
  }
}

void CaptureGate::after_fork_in_parent() {
  CaptureGate& gate = *g_gate;
  if (const std::uint64_t stuck = gate.stuck_.exchange(0))
    gate.abandoned_.fetch_or(stuck & gate.buffers_.taken());
  gate.in_vain_.store(false);
  // 0: this process was set up as a forked child in between.
  std::uint32_t forking = gate.forking_.load();
  while (forking != 0 && !gate.forking_.compare_exchange_weak(forking, forking - 1)) {
  }
}

CaptureBuffers::Buffer* CaptureGate::enter(std::uint32_t hint) {
  std::int64_t give_up_at = 0;
  bool patient = !in_vain_.load(std::memory_order_relaxed);
  for (;;) {
    // Looked at first, too: a buffer borrowed only to be given back would hold the fork up.
    if (forking_.load() == 0 || !patient) [[likely]] {
      CaptureBuffers::Buffer* buffer = buffers_.borrow(hint);
      if (!buffer || forking_.load() == 0 || !patient) return buffer;
      buffers_.give_back(buffer);
    }
    const std::int64_t now = sys::clock_ns(CLOCK_MONOTONIC);
    if (give_up_at == 0) give_up_at = now + 2 * kPatienceNs;
    patient = now < give_up_at && !in_vain_.load(std::memory_order_relaxed);
    if (!patient) in_vain_.store(true, std::memory_order_relaxed);
    // A sleep that a sandbox allows: nobody wakes this word.
    static constinit std::uint32_t nobody = 0;
    const timespec moment{0, 100'000};
    if (patient) sys::futex_wait(&nobody, 0, &moment);
  }
}

void CaptureGate::leave(CaptureBuffers::Buffer* buffer) {
  const std::uint64_t bit = buffers_.bit_of(buffer);
  if (abandoned_.load(std::memory_order_relaxed) & bit) abandoned_.fetch_and(~bit);  // it was slow only
  buffers_.give_back(buffer);
}

bool CaptureGate::reset_after_fork() {
  const bool unsafe = (buffers_.taken() & ~abandoned_.load()) != 0;
  buffers_.reset_after_fork();
  abandoned_.store(0);
  stuck_.store(0);
  in_vain_.store(false);
  forking_.store(0);
  return unsafe;
}

}  // namespace memtrace
