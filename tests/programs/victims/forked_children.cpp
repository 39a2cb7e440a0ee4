// A child made in the way that is asked for, its allocations and the parent's, each with its own truth.
// usage: forked_children fork|_Fork|clone|grandchild|vfork|spawn
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/programs/victims/truth.h"

extern char** environ;

namespace {

void* kept[300];
site* site_of_kept;

extern "C" NOINLINE void in_parent(int i) {
  SITE;
  site_of_kept = &here;
  kept[i] = malloc(100);
  REQUIRE(kept[i] != nullptr);
  BORN(100);
}
extern "C" NOINLINE void in_child() {
  SITE;
  REQUIRE(malloc(70) != nullptr);
  BORN(70);
}
void free_inherited(int from, int to) {
  for (int i = from; i < to; ++i) {
    free(kept[i]);
    change(site_of_kept, -100, -1);
  }
}

[[noreturn]] void be_child(const char* label) {
  for (int i = 0; i < 30; ++i) in_child();
  free_inherited(0, 50);
  report(label);
  _exit(5);
}

pid_t raw_clone() {
  return static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
}

void expect_exit(pid_t child, int code) {
  int status = 0;
  REQUIRE(child > 0);
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == code);
}

// A vfork child shares the parent's heap: what it allocates is the parent's.
extern "C" NOINLINE void in_vforked_child() {
  SITE;
  REQUIRE(malloc(33) != nullptr);
  BORN(33);
}

NOINLINE void run_by_vfork() {
  const pid_t child = vfork();
  if (child == 0) {
    in_vforked_child();
    char* const words[] = {const_cast<char*>("true"), nullptr};
    execve("/bin/true", words, environ);
    _exit(1);
  }
  expect_exit(child, 0);
}

}  // namespace

int main(int argc, char** argv) {
  REQUIRE(argc == 2);
  const char* how = argv[1];
  for (int i = 0; i < 300; ++i) in_parent(i);
  report("before");
  if (strcmp(how, "vfork") == 0) {
    for (int i = 0; i < 200; ++i) run_by_vfork();
  } else if (strcmp(how, "spawn") == 0) {
    for (int i = 0; i < 200; ++i) {
      pid_t child = 0;
      char* const words[] = {const_cast<char*>("true"), nullptr};
      REQUIRE(posix_spawn(&child, "/bin/true", nullptr, nullptr, words, environ) == 0);
      expect_exit(child, 0);
    }
  } else {
    const pid_t child = strcmp(how, "clone") == 0   ? raw_clone()
                        : strcmp(how, "_Fork") == 0 ? _Fork()
                                                    : fork();
    if (child == 0) {
      if (strcmp(how, "grandchild") == 0) {
        const pid_t grandchild = fork();
        if (grandchild == 0) be_child("grandchild");
        expect_exit(grandchild, 5);
      }
      be_child("child");
    }
    expect_exit(child, 5);
  }
  free_inherited(100, 110);
  report("after");
  return 0;
}
