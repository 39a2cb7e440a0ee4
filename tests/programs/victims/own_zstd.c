/* A program with a compressor of its own whose names are those of the library inside the shim: none of its
 * functions may be called. */
#include "tests/programs/victims/truth.h"

#define OWN(name)                                         \
  __attribute__((visibility("default"))) void name(void); \
  void name(void) { REQUIRE(!#name); }

OWN(ZSTD_createCCtx)
OWN(ZSTD_createCStream)
OWN(ZSTD_initStaticCCtx)
OWN(ZSTD_initStaticCStream)
OWN(ZSTD_estimateCCtxSize)
OWN(ZSTD_estimateCStreamSize)
OWN(ZSTD_CCtx_setParameter)
OWN(ZSTD_CCtx_reset)
OWN(ZSTD_compress2)
OWN(ZSTD_compressCCtx)
OWN(ZSTD_compressStream2)
OWN(ZSTD_compressStream)
OWN(ZSTD_flushStream)
OWN(ZSTD_endStream)
OWN(ZSTD_compressBound)
OWN(ZSTD_isError)
OWN(HUF_compress1X_repeat)
OWN(FSE_normalizeCount)

static NOINLINE void keep(void) {
  SITE;
  for (int i = 0; i < 5000; ++i) {
    REQUIRE(malloc(64) != NULL);
    BORN(64);
  }
}

int main(void) {
  keep();
  report("end");
  return 0;
}
