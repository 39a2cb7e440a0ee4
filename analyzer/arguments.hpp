// What both command lines need around CLI11: numbers, and errors that say what was expected.
//
// Called by: memdiff's and memtrace's parsers, once. Failure: CLI::ValidationError, or a sentence.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

namespace memtrace {

// The whole number that `text` is; nothing else is one, not "0x10", "1e3" or "-0". Throws with `option` and
// `expected` in the message.
[[nodiscard]] std::uint64_t parse_number(const std::string& option, const std::string& text,
                                         std::uint64_t least, std::uint64_t most,
                                         const std::string& expected);

// CLI11's exceptions in words: "--top needs a value", "no such option: --bogus". `app`: which has parsed.
[[nodiscard]] std::string describe(const CLI::ParseError& error, const CLI::App& app);

}  // namespace memtrace
