// Threads on stacks of libc's and of their own, that recurse, are cancelled and clean up, and end; the next
// ones find the same stacks. Exits 0.
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

__attribute__((noipa)) static size_t recurse(size_t depth) {
  char bytes[400];
  memset(bytes, (int)depth, sizeof bytes);
  if (depth % 50 == 0) free(malloc((size_t)(unsigned char)bytes[9] + 1));
  return depth == 0 ? 0 : recurse(depth - 1) + (size_t)bytes[3];
}

static void clean_up(void* sem) {
  free(malloc(100));
  recurse(10);
  sem_post(sem);
}

static void* cancelled(void* sem) {
  pthread_cleanup_push(clean_up, sem);
  sem_post(sem);
  for (;;) pause();
  pthread_cleanup_pop(0);
  return NULL;
}

static void* plain(void* depth) {
  recurse((size_t)depth);
  free(malloc(3));
  return NULL;
}

static void at_end(void* value) {
  recurse(3);
  free(value);
}

int main(void) {
  pthread_key_t key;
  pthread_key_create(&key, at_end);
  sem_t sem;
  sem_init(&sem, 0, 0);
  const size_t size = 1 << 20;
  void* own = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (size_t round = 0; round < 10; ++round) {
    pthread_t threads[4];
    for (size_t i = 0; i < 3; ++i) pthread_create(&threads[i], NULL, plain, (void*)(round * 300 + i));
    pthread_create(&threads[3], NULL, cancelled, &sem);
    sem_wait(&sem);
    pthread_cancel(threads[3]);
    for (size_t i = 0; i < 4; ++i) pthread_join(threads[i], NULL);
    sem_wait(&sem);

    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, own, size);
    pthread_t on_own;
    pthread_create(&on_own, &attributes, plain, (void*)1000);
    pthread_join(on_own, NULL);
    pthread_attr_destroy(&attributes);
  }
  pthread_setspecific(key, malloc(1));
  return 0;
}
