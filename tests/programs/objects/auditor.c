/* LD_AUDIT: the loader tells it of every object and every binding, in a namespace with a libc of its own; it
 * allocates there. */
#include <link.h>
#include <stdlib.h>

unsigned la_version(unsigned version) {
  free(malloc(100));
  return version;
}

unsigned la_objopen(struct link_map* map, Lmid_t lmid, uintptr_t* cookie) {
  (void)map;
  (void)lmid;
  (void)cookie;
  free(malloc(1000));
  return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}
