#include "analyzer/filter.hpp"

#include <fmt/format.h>
#include <regex.h>

#include <algorithm>
#include <array>
#include <utility>

namespace memtrace {

// regcomp rather than std::regex: that one recurses once per character, and symbols of a hostile file are
// long.
struct StackFilter::Expression {
  explicit Expression(const std::string& text)
      : error(regcomp(&compiled, text.c_str(), REG_EXTENDED | REG_NOSUB)) {}
  ~Expression() {
    if (error == 0) regfree(&compiled);
  }
  Expression(const Expression&) = delete;
  Expression& operator=(const Expression&) = delete;

  [[nodiscard]] bool found_in(const std::string& text) const {
    return !text.empty() && regexec(&compiled, text.c_str(), 0, nullptr, 0) == 0;
  }

  regex_t compiled{};
  int error;
};

Result<StackFilter, std::string> StackFilter::make(const std::vector<std::string>& focus,
                                                   const std::vector<std::string>& ignore) {
  StackFilter filter;
  const auto compile = [](const char* option, const std::vector<std::string>& texts, Expressions& into) {
    for (const auto& text : texts) {
      auto expression = std::make_shared<const Expression>(text);
      if (expression->error != 0) {
        std::array<char, 200> why{};
        regerror(expression->error, &expression->compiled, why.data(), why.size());
        return fmt::format("{} '{}': {}; expected a POSIX extended regular expression", option, text,
                           why.data());
      }
      into.push_back(std::move(expression));
    }
    return std::string();
  };
  std::string error = compile("--focus", focus, filter.focus_);
  if (error.empty()) error = compile("--ignore", ignore, filter.ignore_);
  if (!error.empty()) return error;
  return filter;
}

bool StackFilter::any_frame_matches(const std::vector<Frame>& frames, const Expressions& expressions) {
  return std::ranges::any_of(frames, [&](const Frame& frame) {
    return std::ranges::any_of(expressions, [&](const auto& expression) {
      return expression->found_in(function_text(frame)) || expression->found_in(line_text(frame)) ||
             (frame.module != nullptr && expression->found_in(frame.module->path));
    });
  });
}

bool StackFilter::keeps(const std::vector<Frame>& frames) const {
  return (focus_.empty() || any_frame_matches(frames, focus_)) && !any_frame_matches(frames, ignore_);
}

}  // namespace memtrace
