/* A parent with many blocks forks; its child allocates and frees a little. Prints how many KiB the child had
 * to copy for that. */
#include <fcntl.h>
#include <sys/wait.h>

#include "tests/programs/victims/truth.h"

static long private_dirty_kib(void) {
  static char text[4096];
  const int fd = open("/proc/self/smaps_rollup", O_RDONLY);
  REQUIRE(fd >= 0);
  REQUIRE(read(fd, text, sizeof text - 1) > 0);
  close(fd);
  const char* line = strstr(text, "Private_Dirty:");
  REQUIRE(line != NULL);
  return strtol(line + strlen("Private_Dirty:"), NULL, 10);
}

int main(void) {
  enum { kBlocks = 200000 };
  static void* blocks[kBlocks];
  for (int i = 0; i < kBlocks; ++i) blocks[i] = malloc(40);
  const pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 20; ++i) {
      free(malloc(100));
      free(blocks[i]);
      blocks[i] = malloc(40);
    }
    char line[64];
    snprintf(line, sizeof line, "%ld\n", private_dirty_kib());
    say(line);
    _exit(0);
  }
  int status = 0;
  REQUIRE(child > 0 && waitpid(child, &status, 0) == child && status == 0);
  return 0;
}
