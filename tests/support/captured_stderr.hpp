// What is written to fd 2 while this lives; the shim's messages follow. A pipe: limits on files do not reach
// it.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "preload/sys/diag.hpp"

namespace memtrace::test {

class CapturedStderr {
 public:
  CapturedStderr() : before_(dup(2)) {
    if (before_ < 0 || pipe2(pipe_, O_CLOEXEC | O_NONBLOCK) != 0 || dup2(pipe_[1], 2) < 0) {
      throw std::system_error(errno, std::generic_category(), "capturing fd 2");
    }
    diag::start();
  }
  ~CapturedStderr() {
    dup2(before_, 2);
    diag::start();
    for (const int fd : {before_, pipe_[0], pipe_[1]}) close(fd);
  }
  CapturedStderr(const CapturedStderr&) = delete;
  CapturedStderr& operator=(const CapturedStderr&) = delete;

  // All of it so far.
  [[nodiscard]] const std::string& text() {
    char part[4096];
    for (ssize_t got; (got = read(pipe_[0], part, sizeof part)) > 0;) {
      text_.append(part, static_cast<std::size_t>(got));
    }
    return text_;
  }

 private:
  int before_;
  int pipe_[2] = {-1, -1};
  std::string text_;
};

}  // namespace memtrace::test
