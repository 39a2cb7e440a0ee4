// What a snapshot could do to a program besides writing a file: cut its waiting short, take its signals,
// overflow a small stack, leave files.
//
//   snapshot_edges CASE      exits 0 when the program saw what it would have seen without snapshots
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <atomic>
#include <thread>

#include "tests/programs/victims/cases.hpp"
#include "tests/programs/victims/truth.h"

namespace {

void snapshot() { REQUIRE(memtrace_snapshot(nullptr, nullptr, 0) == 0); }

int g_pair[2];
sem_t g_sem;
pid_t g_child;

int wait_by_poll() {
  pollfd readable{g_pair[0], POLLIN, 0};
  return poll(&readable, 1, -1);
}
int wait_by_epoll() {
  const int fd = epoll_create1(0);
  epoll_event event{};
  event.events = EPOLLIN;
  REQUIRE(epoll_ctl(fd, EPOLL_CTL_ADD, g_pair[0], &event) == 0);
  const int ready = epoll_wait(fd, &event, 1, -1);
  const int saved = errno;
  close(fd);
  errno = saved;
  return ready;
}
int wait_by_select() {
  fd_set readable;
  FD_ZERO(&readable);
  FD_SET(g_pair[0], &readable);
  return select(g_pair[0] + 1, &readable, nullptr, nullptr, nullptr);
}
int wait_by_read() {
  char c;
  return static_cast<int>(read(g_pair[0], &c, 1));
}
int wait_by_recv() {
  char c;
  return static_cast<int>(recv(g_pair[0], &c, 1, 0));
}
int wait_by_sem() { return sem_wait(&g_sem) == 0 ? 1 : -1; }
int wait_for_child() { return waitpid(g_child, nullptr, 0) == g_child ? 1 : -1; }

// Until the thread is inside that system call.
void until_in(pid_t thread, long number) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/task/%d/syscall", thread);
  for (;;) {
    char text[64] = "";
    FILE* file = fopen(path, "r");
    REQUIRE(file && fgets(text, sizeof text, file));
    fclose(file);
    if (text[0] >= '0' && text[0] <= '9' && strtol(text, nullptr, 10) == number) return;
    sched_yield();
  }
}

// A thread waits while snapshots are taken: by the API nothing is cut short, by the signal only those calls
// that any handler cuts short, whatever its flags.
int waiting() {
  struct Call {
    int (*wait)();
    long number;
    bool restarts;
  };
  constexpr Call kCalls[] = {{wait_by_poll, SYS_poll, false},       {wait_by_epoll, SYS_epoll_wait, false},
                             {wait_by_select, SYS_pselect6, false}, {wait_by_read, SYS_read, true},
                             {wait_by_recv, SYS_recvfrom, true},    {wait_by_sem, SYS_futex, true},
                             {wait_for_child, SYS_wait4, true}};
  REQUIRE(sem_init(&g_sem, 0, 0) == 0);
  for (const Call& call : kCalls) {
    for (const bool by_signal : {false, true}) {
      if (by_signal && !call.restarts) continue;
      REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, g_pair) == 0);
      g_child = fork();
      if (g_child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) pause();
      }
      std::atomic<pid_t> id{0};
      std::thread waiter([&] {
        id = static_cast<pid_t>(syscall(SYS_gettid));
        errno = 0;
        REQUIRE(call.wait() == 1);
      });
      while (id == 0) sched_yield();
      for (int i = 0; i < 3; ++i) {
        until_in(id, call.number);
        if (by_signal) {
          REQUIRE(pthread_kill(waiter.native_handle(), SIGUSR2) == 0);
        } else {
          snapshot();
        }
      }
      REQUIRE(kill(g_child, SIGKILL) == 0);
      REQUIRE(write(g_pair[1], "x", 1) == 1);
      REQUIRE(sem_post(&g_sem) == 0);
      waiter.join();
      if (call.wait != wait_by_sem) REQUIRE(sem_wait(&g_sem) == 0);
      if (call.wait != wait_for_child) REQUIRE(waitpid(g_child, nullptr, 0) == g_child);
      close(g_pair[0]);
      close(g_pair[1]);
    }
  }
  return 0;
}

// Signals that every thread of the program blocks, to read them from a descriptor: nobody else gets them.
int signal_descriptor() {
  sigset_t all;
  sigfillset(&all);
  REQUIRE(pthread_sigmask(SIG_SETMASK, &all, nullptr) == 0);
  const int fd = signalfd(-1, &all, 0);
  REQUIRE(fd >= 0);
  std::atomic<bool> stop{false};
  std::atomic<int> taken{0};
  std::thread asker([&] {
    for (; !stop; ++taken) snapshot();
  });
  for (int i = 0; i < 3000 || taken < 20; ++i) {
    const int number = i % 3 == 0 ? SIGTERM : i % 3 == 1 ? SIGRTMIN + 1 : SIGUSR2;
    REQUIRE(kill(getpid(), number) == 0);
    signalfd_siginfo info;
    REQUIRE(read(fd, &info, sizeof info) == sizeof info);
    REQUIRE(info.ssi_signo == static_cast<unsigned>(number));
  }
  stop = true;
  asker.join();
  return 0;
}

void do_nothing(int) {}

// What of an alternate stack a handler and its frame use.
std::size_t used_by(int number, char* stack, std::size_t size) {
  memset(stack, 0x5a, size);
  pthread_kill(pthread_self(), number);
  std::size_t untouched = 0;
  while (untouched < size && stack[untouched] == 0x5a) ++untouched;
  return size - untouched;
}

// The smallest alternate stack there may be has room for the trigger's handler.
int smallest_stack() {
  static char stack[64 * 1024];
  stack_t alternate{};
  alternate.ss_sp = stack;
  alternate.ss_size = sizeof stack;
  REQUIRE(sigaltstack(&alternate, nullptr) == 0);
  struct sigaction action {};
  action.sa_handler = do_nothing;
  action.sa_flags = SA_ONSTACK;
  REQUIRE(sigaction(SIGUSR1, &action, nullptr) == 0);
  (void)used_by(SIGUSR2, stack, sizeof stack);
  const std::size_t frame = used_by(SIGUSR1, stack, sizeof stack);
  const std::size_t with_ours = used_by(SIGUSR2, stack, sizeof stack);
  char line[64];
  snprintf(line, sizeof line, "frame %zu ours %zu\n", frame, with_ours - frame);
  say(line);
  return with_ours > frame ? 0 : 1;
}

int entries_here() {
  DIR* dir = opendir(".");
  REQUIRE(dir);
  int count = 0;
  while (const dirent* entry = readdir(dir)) {
    count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
  }
  closedir(dir);
  return count;
}

// A limit on file sizes, from nothing to more than a snapshot needs: a whole file or none, and no SIGXFSZ.
int file_limits() {
  int whole = 0;
  int refused = 0;
  for (rlim_t limit = 0; whole < 3; limit += limit < 64 ? 1 : 29) {
    const rlimit small{limit, RLIM_INFINITY};
    REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
    const int error = memtrace_snapshot(nullptr, nullptr, 0);
    REQUIRE(error == 0 || error == EFBIG);
    ++(error == 0 ? whole : refused);
    REQUIRE(entries_here() == whole);
    REQUIRE(limit < 1 << 20);
  }
  return refused > 100 ? 0 : 1;
}

std::atomic<unsigned long> g_operations[2];

// Allocates with an errno of its own, which nobody may touch, for ever. Answers each line once every thread
// has got on.
int busy() {
  for (auto& operations : g_operations) {
    std::thread([&] {
      for (int i = 1;; i = i % 4000 + 1) {
        errno = i;
        void* block = malloc(static_cast<std::size_t>(i));
        REQUIRE(errno == i);
        block = realloc(block, static_cast<std::size_t>(i) * 2);
        REQUIRE(errno == i);
        free(block);
        REQUIRE(errno == i);
        operations.fetch_add(1, std::memory_order_relaxed);
      }
    }).detach();
  }
  say("ready\n");
  for (char c; read(0, &c, 1) == 1;) {
    if (c != '\n') continue;
    for (auto& operations : g_operations) {
      const unsigned long before = operations;
      while (operations - before < 100) sched_yield();
    }
    say("getting on\n");
  }
  _exit(0);
}

// Which signals have handlers, before and after snapshots.
int handlers() {
  for (int i = 0; i < 2; ++i) {
    char line[256];
    FILE* status = fopen("/proc/self/status", "r");
    REQUIRE(status);
    while (fgets(line, sizeof line, status)) {
      if (strncmp(line, "SigCgt", 6) == 0) say(line);
    }
    fclose(status);
    (void)memtrace_snapshot(nullptr, nullptr, 0);
  }
  return 0;
}

int leaves() {
  say("ready\n");
  char c;
  (void)!read(0, &c, 1);
  return 5;
}

}  // namespace

int main(int argc, char** argv) {
  return run_case(argc, argv,
                  {{"waiting", waiting},
                   {"signal_descriptor", signal_descriptor},
                   {"smallest_stack", smallest_stack},
                   {"file_limits", file_limits},
                   {"busy", busy},
                   {"handlers", handlers},
                   {"leaves", leaves}});
}
