// Last include of every .cpp in preload/ but hooks.cpp and real.cpp: makes the heap's names a compile error
// (P1).
#pragma once

#pragma GCC poison malloc calloc realloc reallocarray free cfree posix_memalign aligned_alloc memalign valloc
#pragma GCC poison strdup strndup asprintf vasprintf getline getdelim fopen fdopen opendir
#pragma GCC poison printf fprintf sprintf snprintf vsnprintf puts perror strerror
#pragma GCC poison pthread_create pthread_mutex_lock pthread_getattr_np pthread_key_create atexit abort exit
