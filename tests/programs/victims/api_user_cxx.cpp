// As C++ sees memtrace.h.
#include "tests/programs/victims/api_user.c"
