/* A plugin's own view of the heap: opened with RTLD_DEEPBIND or into a namespace of its own, it does not see
 * the shim. */
#include <stdlib.h>

void* plugin_malloc(size_t size);
void plugin_free(void* block);

void* plugin_malloc(size_t size) { return malloc(size); }
void plugin_free(void* block) { free(block); }
