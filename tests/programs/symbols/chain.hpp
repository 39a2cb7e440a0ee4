// Records where it was called from; the tests find the same places in the source by their markers.
#pragma once

extern "C" void probe(const char* marker);

// The empty asm keeps the call from becoming a jump, which would leave no return address here.
#define PROBE(marker)     \
  do {                    \
    probe(marker);        \
    __asm__ volatile(""); \
  } while (0)
