/* A plugin that does not see the shim: blocks that it frees are freed behind our back, and blocks that it
 * hands out are none that we know.
 * usage: foreign_heap deepbind|namespace OWN_HEAP.so */
#include <dlfcn.h>

#include "tests/programs/victims/truth.h"

static void* (*plugin_malloc)(size_t);
static void (*plugin_free)(void*);
static struct site* site_of_kept;

static NOINLINE void* keep(size_t size) {
  SITE;
  site_of_kept = &here;
  void* block = malloc(size);
  REQUIRE(block != NULL);
  BORN(size);
  return block;
}

/* The same addresses again and again: freed by the plugin, handed out to us. */
static void reuse(void) {
  for (int i = 0; i < 1000; ++i) {
    void* block = keep(200);
    plugin_free(block);
    GONE(site_of_kept, 200);
  }
  /* What the plugin freed last is what malloc gives out next: the record of the old block is the new one's.
   */
  (void)keep(200);
}

int main(int argc, char** argv) {
  REQUIRE(argc == 3);
  const int deepbind = strcmp(argv[1], "deepbind") == 0;
  void* plugin =
      deepbind ? dlopen(argv[2], RTLD_NOW | RTLD_DEEPBIND) : dlmopen(LM_ID_NEWLM, argv[2], RTLD_NOW);
  REQUIRE(plugin != NULL);
  void* symbol = dlsym(plugin, "plugin_malloc");
  memcpy(&plugin_malloc, &symbol, sizeof plugin_malloc);
  symbol = dlsym(plugin, "plugin_free");
  memcpy(&plugin_free, &symbol, sizeof plugin_free);
  for (int i = 0; i < 100; ++i) keep(100);
  for (int i = 0; i < 100; ++i) {
    void* block = plugin_malloc(3000);
    REQUIRE(block != NULL);
    memset(block, 1, 3000);
    if (deepbind && i % 2) {
      free(block); /* the same libc's */
    } else {
      plugin_free(block);
    }
  }
  if (deepbind) reuse();
  report("end");
  return 0;
}
