// How many times this program has called operator new: the demo's own truth, to hold a report against.
#pragma once

#include <cstdint>

// Allocations that count_this_thread() has added so far, over all threads.
std::uint64_t counted_allocations();

// Adds the calling thread's allocations so far to the total.
void count_this_thread();
