// The MEMTRACE_* settings, read once at start from the environment.
//
// Called by: tracker's start. Memory: views into the environment, which the host may change later; whoever
// keeps a text copies it. A wrong value is reported in one line and its default is used: the program always
// runs.
#pragma once

#include <cstdint>
#include <string_view>

#include "format/types.hpp"
#include "preload/sys/diag.hpp"
#include "preload/unwind/unwinder.hpp"

namespace memtrace {

struct SampleSetting {
  SamplingMode mode = SamplingMode::kPoissonBytes;
  std::uint64_t interval_bytes = 512 * 1024;
};

inline constexpr std::size_t kMaxTagsBytes = 511;

struct Options {
  enum class Enabled : std::uint8_t { kOff, kOn, kForced };  // MEMTRACE=0, 1, force
  Enabled enabled = Enabled::kOn;
#define MEMTRACE_OPTION(NAME, member, parser, initial, expected) \
  decltype(type_of_##member()) member = initial;
  // The member's types, beside their names.
  static SampleSetting type_of_sample();
  static std::string_view type_of_dir();
  static int type_of_signal();  // 0: none
  static bool type_of_at_exit();
  static std::uint32_t type_of_max_frames();
  static UnwindChoice type_of_unwind();
  static bool type_of_mmap();
  static std::string_view type_of_only();
  static bool type_of_children();
  static LogLevel type_of_log();
  static std::string_view type_of_tags();
  static std::uint64_t type_of_seed();  // 0: from the kernel
#include "preload/options.inc"
#undef MEMTRACE_OPTION
};

// `environment` is a null-terminated array of NAME=value. Complaints go to diag after the log level is known.
void read_options(const char* const* environment, Options& options);

// 5, 64B, 512KiB, 1M, 2GiB; at least 1. Pure.
[[nodiscard]] bool parse_size(std::string_view text, std::uint64_t& bytes);

// Comma-separated globs with * and ?; an empty list matches everything. Pure.
[[nodiscard]] bool matches_any(std::string_view patterns, std::string_view name);

}  // namespace memtrace
