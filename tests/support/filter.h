/* Filters of system calls, as lists of what happens on which call: the first line that fits decides. For C,
 * too.
 *
 *   struct sock_filter lines[] = {CALL_NUMBER, ALLOW(read), REFUSE(clone, EPERM),
 * OTHERWISE(SECCOMP_RET_ALLOW)}; const struct sock_fprog filter = FILTER(lines); */
#ifndef MEMTRACE_TESTS_FILTER_H
#define MEMTRACE_TESTS_FILTER_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALL_NUMBER BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define OTHERWISE(action) BPF_STMT(BPF_RET | BPF_K, (action))
#define ON(name, action) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), OTHERWISE(action)
#define ALLOW(name) ON(name, SECCOMP_RET_ALLOW)
#define REFUSE(name, error) ON(name, SECCOMP_RET_ERRNO | (error))
#define FILTER(lines) \
  { sizeof(lines) / sizeof *(lines), (lines) }

/* For this process and what it becomes. By system calls of its own: no hook hears of it. True: done. */
static inline int install(const struct sock_fprog* filter) {
  return syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter) == 0;
}

#endif
