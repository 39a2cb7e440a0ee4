/* Allocates when it is loaded, which is before the program's own constructors. */
#include <stdlib.h>

static void* volatile kept;
void touch_library(void);

__attribute__((constructor)) static void in_library_constructor(void) { kept = malloc(98765); }
void touch_library(void) {}
