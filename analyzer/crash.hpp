// What our own commands do when they are at fault: print where, and exit with status 3.
//
// Call once, first in main. Catches fatal signals and std::terminate (uncaught exceptions) of any thread. The
// handler takes no memory from the heap, which may be what is broken.
#pragma once

namespace memtrace {

// `command` must live for ever: a literal.
void install_crash_handler(const char* command);

}  // namespace memtrace
