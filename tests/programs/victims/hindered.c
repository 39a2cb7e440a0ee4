/* Puts an obstacle in the way of a snapshot, takes one, removes the obstacle, takes another one from a thread
 * that was there before. usage: hindered OBSTACLE; the last line of its input ends it. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/programs/victims/truth.h"
#include "tests/support/filter.h"

enum { kBlocks = 2000, kNobody = 65534 };

static void* blocks[kBlocks];
static char directory[4096];
static int old_root = -1;

static void limit(int which, rlim_t value) {
  struct rlimit now;
  REQUIRE(getrlimit(which, &now) == 0);
  now.rlim_cur = value;
  REQUIRE(setrlimit(which, &now) == 0);
}
static void lift(int which) {
  struct rlimit now;
  REQUIRE(getrlimit(which, &now) == 0);
  now.rlim_cur = now.rlim_max;
  REQUIRE(setrlimit(which, &now) == 0);
}

/* Root may do what these obstacles forbid. */
static void give_up_root(void) {
  if (geteuid() != 0) return;
  REQUIRE(chown(directory, kNobody, kNobody) == 0);
  REQUIRE(setgid(kNobody) == 0 && setuid(kNobody) == 0);
}

static rlim_t address_space(void) {
  char text[64] = "";
  const int fd = open("/proc/self/statm", O_RDONLY);
  REQUIRE(read(fd, text, sizeof text - 1) > 0);
  close(fd);
  return strtoul(text, NULL, 10) * 4096;
}

static void fill_disk(void) {
  static const char zeros[4096];
  const int fd = open("ballast", O_WRONLY | O_CREAT, 0600);
  REQUIRE(fd >= 0);
  while (write(fd, zeros, sizeof zeros) > 0) {
  }
  REQUIRE(errno == ENOSPC);
  close(fd);
}

/* Both as a filter that it was started under: the shim hears of none. */
static void refuse_threads(void) {
  struct sock_filter lines[] = {
      CALL_NUMBER,
      REFUSE(clone, EPERM),
      OTHERWISE(SECCOMP_RET_ALLOW),
  };
  const struct sock_fprog filter = FILTER(lines);
  REQUIRE(install(&filter));
}

/* As README.md lists them under "Sandboxes", and what this program needs itself. */
static void allow_snapshots_only(void) {
  struct sock_filter lines[] = {
      CALL_NUMBER,           ALLOW(getpid),
      ALLOW(rt_sigprocmask), ALLOW(rt_sigreturn),
      ALLOW(clone),          ALLOW(futex),
      ALLOW(exit),           ALLOW(close_range),
      ALLOW(openat),         ALLOW(mkdirat),
      ALLOW(read),           ALLOW(write),
      ALLOW(pwrite64),       ALLOW(fsync),
      ALLOW(close),          ALLOW(renameat2),
      ALLOW(linkat),         ALLOW(unlinkat),
      ALLOW(mmap),           ALLOW(munmap),
      ALLOW(madvise),        ALLOW(process_vm_readv),
      ALLOW(fstat),          ALLOW(poll),
      ALLOW(rt_sigpending),  ALLOW(tgkill),
      ALLOW(sched_yield),    ALLOW(brk),
      ALLOW(exit_group),     OTHERWISE(SECCOMP_RET_KILL_PROCESS),
  };
  const struct sock_fprog filter = FILTER(lines);
  REQUIRE(install(&filter));
}

static int is(const char* obstacle, const char* name) { return strcmp(obstacle, name) == 0; }

static void put(const char* obstacle) {
  if (is(obstacle, "file_size")) {
    limit(RLIMIT_FSIZE, 4096);
  } else if (is(obstacle, "open_files")) {
    limit(RLIMIT_NOFILE, 1); /* the directory has it */
  } else if (is(obstacle, "address_space")) {
    limit(RLIMIT_AS, address_space());
  } else if (is(obstacle, "processes")) {
    give_up_root();
    limit(RLIMIT_NPROC, 0);
  } else if (is(obstacle, "locked_memory")) {
    give_up_root();
    limit(RLIMIT_MEMLOCK, 65536);
    REQUIRE(mlockall(MCL_FUTURE) == 0);
  } else if (is(obstacle, "dropped_privileges")) {
    REQUIRE(setresuid(kNobody, kNobody, 0) == 0);
  } else if (is(obstacle, "unwritable")) {
    give_up_root();
    REQUIRE(chmod(directory, 0500) == 0);
  } else if (is(obstacle, "removed")) {
    REQUIRE(rmdir(directory) == 0);
  } else if (is(obstacle, "replaced_by_file")) {
    REQUIRE(rmdir(directory) == 0);
    close(open(directory, O_WRONLY | O_CREAT, 0600));
  } else if (is(obstacle, "full_disk")) {
    fill_disk();
  } else if (is(obstacle, "read_only")) {
    REQUIRE(mount(NULL, directory, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0);
  } else if (is(obstacle, "chroot")) {
    old_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    REQUIRE(chroot(directory) == 0);
  } else if (is(obstacle, "other_pids")) {
    REQUIRE(unshare(CLONE_NEWPID) == 0); /* of this thread only */
  } else if (is(obstacle, "no_threads")) {
    refuse_threads();
  } else if (is(obstacle, "allow_list")) {
    allow_snapshots_only();
  } else {
    REQUIRE(is(obstacle, "none"));
  }
}

static void take_away(const char* obstacle) {
  if (is(obstacle, "file_size")) lift(RLIMIT_FSIZE);
  if (is(obstacle, "open_files")) lift(RLIMIT_NOFILE);
  if (is(obstacle, "address_space")) lift(RLIMIT_AS);
  if (is(obstacle, "processes")) lift(RLIMIT_NPROC);
  if (is(obstacle, "locked_memory")) REQUIRE(munlockall() == 0);
  if (is(obstacle, "dropped_privileges")) REQUIRE(setresuid(0, 0, 0) == 0);
  if (is(obstacle, "unwritable")) REQUIRE(chmod(directory, 0700) == 0);
  if (is(obstacle, "replaced_by_file")) REQUIRE(unlink(directory) == 0);
  if (is(obstacle, "full_disk")) REQUIRE(unlink("ballast") == 0);
  if (is(obstacle, "read_only")) REQUIRE(mount(NULL, directory, NULL, MS_REMOUNT, NULL) == 0);
  if (is(obstacle, "chroot")) REQUIRE(fchdir(old_root) == 0 && chroot(".") == 0);
}

static NOINLINE void hold(int i) {
  blocks[i] = malloc((size_t)(300 + i));
  REQUIRE(blocks[i] != NULL);
  memset(blocks[i], i & 127, (size_t)(300 + i));
}

/* What the program is about; the same with and without the shim. */
static void work(const char* when) {
  unsigned long sum = 0;
  char line[160];
  for (int i = 0; i < kBlocks; ++i) {
    for (int at = 0; at < 300 + i; ++at) sum += ((unsigned char*)blocks[i])[at];
  }
  for (int i = 0; i < 100; ++i) free(malloc((size_t)(i * 100)));
  snprintf(line, sizeof line, "%s sum %lu\n", when, sum);
  say(line);
}

static void take(const char* label) {
  char line[64];
  snprintf(line, sizeof line, "snapshot %s %d\n", label, memtrace_snapshot(label, NULL, 0));
  say(line);
}

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static void* take_later(void* argument) {
  pthread_mutex_lock(&turn);
  take("after");
  pthread_mutex_unlock(&turn);
  return argument;
}

int main(int argc, char** argv) {
  REQUIRE(argc == 2 && getcwd(directory, sizeof directory));
  for (int i = 0; i < kBlocks; ++i) hold(i);
  pthread_t thread;
  pthread_mutex_lock(&turn);
  REQUIRE(pthread_create(&thread, NULL, take_later, NULL) == 0);
  work("before");
  put(argv[1]);
  take("during");
  work("during");
  take_away(argv[1]);
  pthread_mutex_unlock(&turn);
  REQUIRE(pthread_join(thread, NULL) == 0);
  work("after");
  char c;
  (void)!read(0, &c, 1);
  _exit(6);
}
