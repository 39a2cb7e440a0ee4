// What is written to fd 2 while this lives. The shim's messages are switched to it, and off again.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "preload/sys/diag.hpp"

namespace memtrace::test {

class CapturedStderr {
 public:
  CapturedStderr() : file_(memfd_create("stderr", MFD_CLOEXEC)), before_(dup(2)) {
    if (file_ < 0 || before_ < 0 || dup2(file_, 2) < 0) {
      throw std::system_error(errno, std::generic_category(), "capturing fd 2");
    }
    diag::start();
  }
  ~CapturedStderr() {
    dup2(before_, 2);
    close(before_);
    close(file_);
  }
  CapturedStderr(const CapturedStderr&) = delete;
  CapturedStderr& operator=(const CapturedStderr&) = delete;

  [[nodiscard]] std::string text() const {
    std::string all(static_cast<std::size_t>(lseek(file_, 0, SEEK_END)), '\0');
    const ssize_t got = pread(file_, all.data(), all.size(), 0);
    all.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return all;
  }

 private:
  int file_;
  int before_;
};

}  // namespace memtrace::test
