// Binds libc functions to versions that every supported glibc has: without it, a library built on Debian 12
// would ask for GLIBC_2.34 and keep programs on older systems from starting.
#pragma once

#if defined(__GLIBC__) && defined(__x86_64__) && !defined(MEMTRACE_IN_PROCESS)
__asm__(".symver dlsym,dlsym@GLIBC_2.2.5");
__asm__(".symver dlopen,dlopen@GLIBC_2.2.5");
__asm__(".symver dladdr,dladdr@GLIBC_2.2.5");
#endif
