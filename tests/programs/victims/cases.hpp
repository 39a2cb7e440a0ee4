// A victim of several cases: its first argument says which of them runs, and that one's result is its exit
// code.
#ifndef MEMTRACE_TESTS_CASES_HPP
#define MEMTRACE_TESTS_CASES_HPP

#include <cstring>
#include <initializer_list>

struct Case {
  const char* name;
  int (*run)();
};

inline int run_case(int argc, char** argv, std::initializer_list<Case> cases) {
  for (const Case& known : cases) {
    if (argc > 1 && std::strcmp(argv[1], known.name) == 0) return known.run();
  }
  return 99;
}

#endif
