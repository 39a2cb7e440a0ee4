#include "tests/support/snapshot_tracer.hpp"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

namespace memtrace::test {
namespace {

constexpr unsigned kPatienceSeconds = 60;

long trace(__ptrace_request request, pid_t thread, std::uint64_t address, std::uint64_t data) {
  errno = 0;
  return ptrace(request, thread, address, data);
}

void go_on(__ptrace_request how, pid_t thread, int signal = 0) {
  trace(how, thread, 0, static_cast<std::uint64_t>(signal));
}

std::size_t place(std::size_t in_regs) { return offsetof(user, regs) + in_regs; }
const std::size_t kNumber = place(offsetof(user_regs_struct, orig_rax));
const std::size_t kResult = place(offsetof(user_regs_struct, rax));
const std::size_t kThird = place(offsetof(user_regs_struct, rdx));

void set_register(pid_t thread, std::size_t which, std::uint64_t value) {
  if (trace(PTRACE_POKEUSER, thread, which, value) != 0) throw std::runtime_error("PTRACE_POKEUSER");
}

int event_of(int status) { return status >> 16; }

struct Info : __ptrace_syscall_info {
  explicit Info(pid_t thread) : __ptrace_syscall_info{} {
    const auto where = reinterpret_cast<std::uint64_t>(static_cast<__ptrace_syscall_info*>(this));
    if (trace(PTRACE_GET_SYSCALL_INFO, thread, sizeof(__ptrace_syscall_info), where) <= 0)
      throw std::runtime_error("PTRACE_GET_SYSCALL_INFO");
  }
};

}  // namespace

std::string SystemCall::text(std::size_t argument) const {
  std::string text;
  for (char c = 0;; text += c) {
    const iovec here{&c, 1};
    const iovec there{reinterpret_cast<void*>(arguments.at(argument) + text.size()), 1};
    if (process_vm_readv(process, &here, 1, &there, 1, 0) != 1) throw std::runtime_error("process_vm_readv");
    if (c == '\0') return text;
  }
}

SnapshotTracer::SnapshotTracer(pid_t process) : process_(process) {
  if (trace(PTRACE_SEIZE, process, 0, PTRACE_O_TRACECLONE | PTRACE_O_TRACESYSGOOD) != 0)
    throw std::runtime_error(std::string("PTRACE_SEIZE: ") + std::strerror(errno));
}

SnapshotTracer::~SnapshotTracer() {
  if (!alive_ || trace(PTRACE_INTERRUPT, process_, 0, 0) != 0) return;
  int status = 0;
  if (waitpid(process_, &status, __WALL) == process_ && WIFSTOPPED(status)) go_on(PTRACE_DETACH, process_);
}

// Lets the main thread run through its handler until it has made the snapshot thread.
pid_t SnapshotTracer::wait_for_thread() const {
  for (;;) {
    int status = 0;
    if (waitpid(process_, &status, __WALL) != process_ || !WIFSTOPPED(status))
      throw std::runtime_error("the victim ended without a snapshot thread");
    if (event_of(status) == PTRACE_EVENT_CLONE) {
      std::uint64_t thread = 0;
      trace(PTRACE_GETEVENTMSG, process_, 0, reinterpret_cast<std::uint64_t>(&thread));
      go_on(PTRACE_CONT, process_);
      return static_cast<pid_t>(thread);
    }
    go_on(PTRACE_CONT, process_, event_of(status) == 0 ? WSTOPSIG(status) : 0);
  }
}

std::vector<long> SnapshotTracer::take(const Meddle& meddle) {
  alarm(kPatienceSeconds);
  if (syscall(SYS_tgkill, process_, process_, SIGUSR2) != 0) throw std::runtime_error("tgkill");
  const pid_t thread = wait_for_thread();
  std::vector<long> made;
  SystemCall call;
  for (;;) {
    int status = 0;
    if (waitpid(thread, &status, __WALL) != thread) throw std::runtime_error("waitpid");
    if (!WIFSTOPPED(status)) break;
    if (WSTOPSIG(status) != (SIGTRAP | 0x80)) {  // its birth
      go_on(PTRACE_SYSCALL, thread);
      continue;
    }
    const Info info(thread);
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
      call = SystemCall{};
      call.index = made.size();
      call.process = process_;
      call.number = static_cast<long>(info.entry.nr);
      std::memcpy(call.arguments.data(), info.entry.args, sizeof info.entry.args);
      made.push_back(call.number);
      if (meddle) meddle(call);
      if (call.kill) {
        kill(process_, SIGKILL);
        alive_ = false;
        continue;
      }
      if (call.error != 0) set_register(thread, kNumber, ~std::uint64_t{0});
      if (call.size) set_register(thread, kThird, *call.size);
    } else if (info.op == PTRACE_SYSCALL_INFO_EXIT) {
      if (call.error != 0) set_register(thread, kResult, static_cast<std::uint64_t>(-call.error));
      if (call.size) set_register(thread, kThird, call.arguments[2]);  // as the kernel would have left it
    }
    const bool finished = call.last && info.op == PTRACE_SYSCALL_INFO_EXIT;
    go_on(finished ? PTRACE_CONT : PTRACE_SYSCALL, thread);
  }
  alarm(0);
  return made;
}

}  // namespace memtrace::test
