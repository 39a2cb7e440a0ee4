// The one function of libmemtrace-boost.so: return addresses of the calling thread, innermost first, its own
// frames included. Returns how many; at most room - 1. May take locks and allocate at its first call.
#pragma once

#include <cstddef>

namespace memtrace {
using BoostBacktrace = std::size_t (*)(const void** frames, std::size_t room);
}  // namespace memtrace

extern "C" std::size_t memtrace_boost_backtrace(const void** frames, std::size_t room);
