// Sizes, counts, durations and times as people read them. Pure functions.
#pragma once

#include <cstdint>
#include <string>

namespace memtrace {

// The nearest whole number. Saturates at 4e18, and NaN is 0: sums of hostile sizes go beyond 64 bits.
[[nodiscard]] std::int64_t whole(double x);

// From one reading of a clock to another. Saturates: a damaged snapshot may have any.
[[nodiscard]] std::int64_t elapsed_ns(std::int64_t from, std::int64_t to);

// IEC units, three significant digits: "512 B", "58.7 KiB", "1.20 GiB".
[[nodiscard]] std::string size_text(double bytes);
[[nodiscard]] std::string signed_size(double bytes);  // with + or -; "0 B" for nothing

// Thousands separated: "12,345".
[[nodiscard]] std::string count_text(std::int64_t count);
[[nodiscard]] std::string signed_count(std::int64_t count);

// "850 ms", "4.2 s", "3 min 20 s", "5 h 12 min", "3 d 4 h".
[[nodiscard]] std::string duration_text(std::int64_t nanoseconds);

// "2026-11-22T10:00:00Z"; empty for 0.
[[nodiscard]] std::string utc_text(std::int64_t realtime_ns);

}  // namespace memtrace
