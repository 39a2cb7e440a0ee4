// What /proc says about another process, as far as the trigger signal is concerned: parsing only, no I/O.
//
// Called by: memtrace snap, a handful of times. Thread-safety: pure functions. Input comes from the kernel
// and from the other process's environment: every value is checked.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace memtrace {

struct ProcessStatus {
  char state = '?';  // as in /proc/PID/status: R, S, D, T, Z, X, ...
  uid_t effective_uid = 0;
  gid_t effective_gid = 0;
  pid_t parent = 0;
  unsigned seccomp_filters = 0;  // how many it is under; 0 before Linux 5.9, which does not say
  pid_t own_pid = 0;             // as the process sees itself: the innermost of NSpid
  std::uint64_t blocked = 0;     // SigBlk, bit n-1 for signal n
  std::uint64_t ignored = 0;     // SigIgn
  std::uint64_t caught = 0;      // SigCgt
};

// The text of /proc/PID/status; nullopt when a line that is needed is absent or damaged.
[[nodiscard]] std::optional<ProcessStatus> parse_process_status(std::string_view text);

[[nodiscard]] constexpr bool contains_signal(std::uint64_t mask, int signal_number) {
  return signal_number >= 1 && signal_number <= 64 && ((mask >> (signal_number - 1)) & 1) != 0;
}

// The value of `name` in the text of /proc/PID/environ (entries end with a zero byte).
[[nodiscard]] std::optional<std::string> environment_value(std::string_view environment,
                                                           std::string_view name);

// Is it still the text of NAME=value entries that a traced process was started with? Programs that change
// their title write over it (setproctitle), and LD_PRELOAD with the shim, without which nothing is traced, is
// lost.
[[nodiscard]] bool is_environment(std::string_view environment);

// The path under which a file named `file_name` is mapped, from the text of /proc/PID/maps.
[[nodiscard]] std::optional<std::string> mapped_file(std::string_view maps, std::string_view file_name);

// MEMTRACE_SIGNAL: SIGUSR1, SIGUSR2, SIGRTMIN+N, each with or without SIG; 0 for "none"; nullopt for anything
// else.
[[nodiscard]] std::optional<int> parse_trigger_signal(std::string_view text);

// Is `file_name` a finished snapshot of the process that sees itself as `pid`, with this label? An empty
// label accepts all.
[[nodiscard]] bool is_snapshot_of(std::string_view file_name, pid_t pid, std::string_view label);

// Letters, digits, dot, underscore and dash, 1 to 64 of them: what may stand in a file name.
[[nodiscard]] bool is_valid_label(std::string_view label);

}  // namespace memtrace
