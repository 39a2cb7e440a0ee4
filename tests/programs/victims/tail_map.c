/* Maps memory in functions that libc calls and whose last act it is: mmap returns into libc.
 * usage: tail_map MAPPINGS     of 1 MiB each */
#include <pthread.h>
#include <sys/mman.h>

#include "tests/programs/victims/truth.h"

/* return mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); */
void* map_at_last(void* unused);
__asm__(
    ".text\n"
    "map_at_last:\n"
    "xorl %edi, %edi\n"
    "movl $0x100000, %esi\n"
    "movl $3, %edx\n"
    "movl $0x22, %ecx\n"
    "movl $-1, %r8d\n"
    "xorl %r9d, %r9d\n"
    "jmp mmap@PLT\n");

int main(int argc, char** argv) {
  REQUIRE(argc == 2);
  for (int left = atoi(argv[1]); left > 0; --left) {
    pthread_t thread;
    void* made = NULL;
    REQUIRE(pthread_create(&thread, NULL, map_at_last, NULL) == 0);
    REQUIRE(pthread_join(thread, &made) == 0);
    REQUIRE(made != MAP_FAILED);
  }
  report("mapped");
  return 0;
}
