// Raw system calls: no errno, no cancellation point, no libc state.
//
// Called by: everything in preload/ that needs the kernel; safe in signal handlers, on the snapshot thread
// (which has no libc thread state) and before libc is initialised. Results are the kernel's: -errno on
// failure.
#pragma once

#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace memtrace::sys {

#if defined(__x86_64__)
inline long call6(long number, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}
#else
#error "memtrace: system calls and snapshot thread are written for x86-64 only so far"
#endif

template <class T>
long word(T v) {
  if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<long>(v);
  } else {
    return static_cast<long>(v);
  }
}
inline long word(decltype(nullptr)) { return 0; }

template <class A = long, class B = long, class C = long, class D = long, class E = long, class F = long>
long call(long number, A a = 0, B b = 0, C c = 0, D d = 0, E e = 0, F f = 0) {
  return call6(number, word(a), word(b), word(c), word(d), word(e), word(f));
}

inline long advise(void* p, std::size_t bytes, int advice) { return call(SYS_madvise, p, bytes, advice); }

inline long futex_wait(void* word_address, std::uint32_t expected, const timespec* timeout) {
  return call(SYS_futex, word_address, FUTEX_WAIT_PRIVATE, expected, timeout);
}
inline void futex_wake(void* word_address, int count) {
  call(SYS_futex, word_address, FUTEX_WAKE_PRIVATE, count);
}

inline long open(const char* path, int flags, unsigned mode = 0) {
  return call(SYS_openat, AT_FDCWD, path, flags, mode);
}
inline long read(int fd, void* data, std::size_t size) { return call(SYS_read, fd, data, size); }
inline long write(int fd, const void* data, std::size_t size) { return call(SYS_write, fd, data, size); }
inline long close(int fd) { return call(SYS_close, fd); }
inline long readlink(const char* path, char* out, std::size_t size) {
  return call(SYS_readlinkat, AT_FDCWD, path, out, size);
}
inline long unlink(const char* path) { return call(SYS_unlinkat, AT_FDCWD, path, 0); }
// Whether both paths lead to one file. False also where one cannot be followed.
inline bool same_file(const char* one, const char* other) {
  struct stat a {};
  struct stat b {};
  return call(SYS_newfstatat, AT_FDCWD, one, &a, 0) == 0 &&
         call(SYS_newfstatat, AT_FDCWD, other, &b, 0) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

inline std::uint64_t pid() { return static_cast<std::uint64_t>(call(SYS_getpid)); }
inline std::uint32_t tid() { return static_cast<std::uint32_t>(call(SYS_gettid)); }

// The clocks come from the vDSO itself. By libc's name they could be another library's, such as
// libfaketime's: it has thread-local data, locks and a heap, which neither a hook nor the snapshot thread may
// touch.
using ReadClock = int (*)(clockid_t clock, timespec* time);
extern constinit std::atomic<ReadClock> g_read_clock;
// At start. Before it, and where it finds no vDSO (false), each look is a system call.
bool find_clock();

inline std::int64_t clock_ns(clockid_t clock) {
  timespec t{};
  g_read_clock.load(std::memory_order_relaxed)(clock, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

}  // namespace memtrace::sys
