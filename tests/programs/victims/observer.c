/* Says everything about itself that a shim could have changed: before, between and after two snapshots.
 * usage: observer [close]     close: first closes every fd from 3 on, then opens files of its own */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/programs/victims/truth.h"

extern char** environ;

static int entries(const char* directory) {
  DIR* dir = opendir(directory);
  REQUIRE(dir != NULL);
  int count = 0;
  for (struct dirent* entry; (entry = readdir(dir));) count += entry->d_name[0] != '.';
  closedir(dir);
  return count;
}

static void say_entries(const char* what, const char* directory) {
  char line[128];
  snprintf(line, sizeof line, "%s %d\n", what, entries(directory));
  say(line);
}

static void say_status(const char* key) {
  char line[256];
  FILE* status = fopen("/proc/self/status", "r");
  REQUIRE(status != NULL);
  while (fgets(line, sizeof line, status)) {
    if (strncmp(line, key, strlen(key)) == 0) say(line);
  }
  fclose(status);
}

static void observe(void) {
  char line[256];
  /* The kernel takes a thread that has ended off its list a moment later; a thread that stays is found by the
   * alarm. */
  alarm(30);
  while (entries("/proc/self/task") != 1) sched_yield();
  alarm(0);
  char directory[4096];
  say_entries("fds", "/proc/self/fd");
  say_entries("threads", "/proc/self/task");
  say_status("SigBlk");
  say_status("SigIgn");
  say_status("ShdPnd");
  const mode_t mask = umask(0);
  umask(mask);
  struct rlimit files;
  REQUIRE(getrlimit(RLIMIT_NOFILE, &files) == 0);
  snprintf(line, sizeof line, "umask %o files %lu dumpable %d cwd %s\n", mask, (unsigned long)files.rlim_cur,
           prctl(PR_GET_DUMPABLE), getcwd(directory, sizeof directory) ? "known" : "unknown");
  say(line);
  char name[32] = "";
  prctl(PR_GET_NAME, name);
  stack_t stack;
  REQUIRE(sigaltstack(NULL, &stack) == 0);
  snprintf(line, sizeof line, "name %s altstack %d\n", name, stack.ss_flags);
  say(line);
  for (char** entry = environ; *entry; ++entry) {
    say(*entry);
    say("\n");
  }
}

static void own_files(void) {
  closefrom(3);
  const int first = open("own-file", O_RDWR | O_CREAT | O_EXCL, 0600);
  REQUIRE(first == 3);
  REQUIRE(write(first, "0123456789", 10) == 10);
  REQUIRE(dup(first) == 4 && dup(first) == 5);
}

static void check_own_files(void) {
  char bytes[32];
  REQUIRE(pread(5, bytes, sizeof bytes, 0) == 10);
  REQUIRE(memcmp(bytes, "0123456789", 10) == 0);
  REQUIRE(lseek(3, 0, SEEK_CUR) == 10);
}

static void snapshot(void) {
  const int error = memtrace_snapshot("observed", NULL, 0);
  REQUIRE(error == 0 || error == ENOSYS);
}

int main(int argc, char** argv) {
  const int with_files = argc > 1 && strcmp(argv[1], "close") == 0;
  if (with_files) own_files();
  observe();
  snapshot();
  observe();
  snapshot();
  observe();
  if (with_files) check_own_files();
  return 3;
}
