// What would break: a program that is refused what it was granted before it had the shim, or that is itself
// refused something the shim would like to do.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/catch.hpp"
#include "tests/support/exact.hpp"
#include "tests/support/filter.h"
#include "tests/support/preloaded.hpp"

namespace memtrace::test {
namespace {

TEST_CASE("what is granted to single-threaded programs only is granted at and after a snapshot") {
  const std::string what = GENERATE("unshare", "setns");
  CAPTURE(what);
  const Ending bare = Preloaded("unshares", {"nothing", what}).without_shim().run();
  REQUIRE(bare.exit_code == 0);
  for (const std::string how : {"call", "signal"}) {
    CAPTURE(how);
    for (int i = 0; i < 20; ++i) {
      Preloaded victim("unshares", {how, what});
      const Ending ending = victim.exact().run();
      CHECK(ending.out == bare.out);
      CHECK(ending.err == bare.err);
      CHECK(ending.exit_code == 0);
      CHECK(victim.snapshot_files().size() == 1);
    }
  }
}

TEST_CASE("a program that may not read about itself in /proc takes its snapshots") {
  Preloaded victim("not_dumpable");
  REQUIRE(chmod(victim.dir().c_str(), 0777) == 0);
  check_exact(victim.exact().run(), 1);
}

// A call that the shim makes, by number and one argument's value; argument 6: whatever its arguments.
struct Forbidden {
  std::string name;
  unsigned number;
  unsigned argument;
  unsigned value;
  unsigned error;
  bool traces = true;  // goes on without it
};
constexpr unsigned kAny = 6;

// From here on in this process and what it becomes, the call fails. Between fork and exec.
void forbid(const Forbidden& call) {
  const bool any = call.argument == kAny;
  const auto argument =
      any ? offsetof(seccomp_data, nr) : offsetof(seccomp_data, args) + call.argument * sizeof(std::uint64_t);
  sock_filter lines[] = {
      CALL_NUMBER,
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call.number, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(argument)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, any ? call.number : call.value, 0, 1),
      OTHERWISE(SECCOMP_RET_ERRNO | call.error),
      OTHERWISE(SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter = FILTER(lines);
  if (!install(&filter)) _exit(125);
}

TEST_CASE("each system call of the start may fail, and the program runs as without the shim") {
  constexpr unsigned kNoReserve = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;  // the shim's mappings
  const Forbidden call = GENERATE(values<Forbidden>({
      {"no memory at all", SYS_mmap, 3, kNoReserve, ENOMEM, false},
      {"no advice", SYS_madvise, kAny, 0, ENOSYS},
      {"no wiping on fork", SYS_madvise, 2, MADV_WIPEONFORK, EINVAL},
      {"no keeping out of core files", SYS_madvise, 2, MADV_DONTDUMP, EINVAL},
      {"no asking for pages", SYS_madvise, 2, 22 /* MADV_POPULATE_READ */, EINVAL},
      {"no guard pages, nothing read-only", SYS_mprotect, kAny, 0, EACCES},
      {"no random numbers", SYS_getrandom, kAny, 0, ENOSYS},
      {"no name of the program", SYS_readlinkat, kAny, 0, EACCES},
      {"no working directory", SYS_getcwd, kAny, 0, ENOENT},
      {"no host name", SYS_uname, kAny, 0, EFAULT},
      {"no look at stderr", SYS_fstat, 0, 2, EBADF},
      {"no look at files", SYS_newfstatat, 0, static_cast<unsigned>(AT_FDCWD), EPERM},
      {"no thread id", SYS_gettid, kAny, 0, ENOSYS},
      {"no process id", SYS_getpid, kAny, 0, ENOSYS},
      {"no parent", SYS_getppid, kAny, 0, ENOSYS},
      {"no handler", SYS_rt_sigaction, 0, SIGUSR2, EINVAL},
      {"no futex", SYS_futex, kAny, 0, ENOSYS},
      {"no thread", SYS_clone, kAny, 0, EAGAIN, false},
      {"no private files", SYS_close_range, kAny, 0, ENOSYS},
      {"no clock", SYS_clock_gettime, kAny, 0, EPERM},
  }));
  CAPTURE(call.name);
  const auto failing = [&call] { forbid(call); };
  for (const std::string program : {"callocs", "keeps_errno", "/usr/bin/sort"}) {
    CAPTURE(program);
    const auto run = [&](Preloaded& victim) {
      victim.exact().set("MEMTRACE_AT_EXIT", "1").set("MEMTRACE_LOG", "error").in_child(failing).start();
      if (program == "/usr/bin/sort") victim.tell("b\na");
      return victim.finish();
    };
    Preloaded bare(program);
    bare.without_shim();
    const Ending expected = run(bare);
    Preloaded victim(program);
    const Ending ending = run(victim);
    CAPTURE(ending.err);
    CHECK(ending.signal == expected.signal);
    CHECK(ending.exit_code == expected.exit_code);
    if (program != "keeps_errno") CHECK(ending.out == expected.out);  // it prints its addresses
    if (call.traces && expected.exit_code == 0) CHECK(victim.snapshot_files().size() == 1);
  }
}

}  // namespace
}  // namespace memtrace::test
