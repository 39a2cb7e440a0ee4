// --focus and --ignore: which stacks take part, by regular expressions (POSIX extended) over function, file
// and module.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "analyzer/frame_names.hpp"
#include "format/result.hpp"

namespace memtrace {

class StackFilter {
 public:
  // The error is a sentence that names the option, the expression and what is wrong with it.
  [[nodiscard]] static Result<StackFilter, std::string> make(const std::vector<std::string>& focus,
                                                             const std::vector<std::string>& ignore);

  [[nodiscard]] bool empty() const { return focus_.empty() && ignore_.empty(); }
  // Some frame matches a focus expression (or there is none), and no frame matches an ignore expression.
  [[nodiscard]] bool keeps(const std::vector<Frame>& frames) const;

 private:
  struct Expression;
  using Expressions = std::vector<std::shared_ptr<const Expression>>;

  static bool any_frame_matches(const std::vector<Frame>& frames, const Expressions& expressions);

  Expressions focus_;
  Expressions ignore_;
};

}  // namespace memtrace
