// Exit statuses of memdiff and memtrace; scripts depend on them.
#pragma once

namespace memtrace::exit_code {

inline constexpr int kDone = 0;
inline constexpr int kOverBudget = 1;
inline constexpr int kUsage = 2;  // also unreadable input
inline constexpr int kOwnFault = 3;

}  // namespace memtrace::exit_code
