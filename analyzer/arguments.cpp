#include "analyzer/arguments.hpp"

#include <charconv>
#include <string_view>
#include <vector>

namespace memtrace {

std::uint64_t parse_number(const std::string& option, const std::string& text, std::uint64_t least,
                           std::uint64_t most, const std::string& expected) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stopped != end || value < least || value > most)
    throw CLI::ValidationError(option, "'" + text + "' is not " + expected);
  return value;
}

std::string describe(const CLI::ParseError& error, const CLI::App& app) {
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    std::string unknown;
    for (const std::string& argument : app.remaining(true)) {
      if (argument.starts_with('-') && argument != "--")
        return "no such option: " + argument.substr(0, argument.find('='));
      unknown += " " + argument;
    }
    return "not expected here:" + unknown;
  }
  // "--top: 1 required N missing"
  const std::string_view text = error.what();
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr && text.ends_with(" missing"))
    return std::string(text.substr(0, text.find(':'))) + " needs a value";
  return std::string(text);
}

}  // namespace memtrace
