// Would break: P6. Our text in a file that the host opened where stderr was, or a line cut without a newline.
#include "preload/sys/diag.hpp"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tests/support/captured_stderr.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/child.hpp"

using namespace memtrace;

namespace {
Line line_of(std::string_view text) {
  Line line;
  line << text;
  return line;
}
}  // namespace

TEST_CASE("a message is one line with the prefix") {
  test::CapturedStderr captured;
  diag::set_level(LogLevel::kWarn);
  diag::say(LogLevel::kError, line_of("disk full"));
  CHECK(captured.text() == "memtrace: disk full\n");
}

TEST_CASE("no byte of a value reaches the terminal as a command") {
  std::string line;
  for (int c = 1; c < 256; ++c) line += static_cast<char>(c);
  test::CapturedStderr captured;
  diag::set_level(LogLevel::kWarn);
  diag::say(LogLevel::kError, line_of(line));
  const std::string told = captured.text();
  CHECK(told.starts_with("memtrace: " + std::string(31, '?') + " !"));
  CHECK(told.find("~?\x80") != std::string::npos);
  CHECK(told.find_first_of("\x1b\r\t\x7f") == std::string::npos);
  diag::say(LogLevel::kError, line_of("\xc2\x9b"
                                      "2J \xc3\xbc"));  // a control character of two bytes; a letter
  CHECK(captured.text().ends_with("memtrace: \xc2?2J \xc3\xbc\n"));
}

TEST_CASE("levels above the wanted one are dropped") {
  test::CapturedStderr captured;
  std::string expected;
  for (const LogLevel level : {LogLevel::kError, LogLevel::kWarn, LogLevel::kInfo}) {
    diag::set_level(level);
    for (const auto& [at, text] : {std::pair{LogLevel::kError, "e"}, std::pair{LogLevel::kWarn, "w"},
                                   std::pair{LogLevel::kInfo, "i"}}) {
      diag::say(at, line_of(text));
      if (at <= level) expected += std::string("memtrace: ") + text + "\n";
    }
  }
  CHECK(captured.text() == expected);
}

TEST_CASE("a fd 2 that became another file is left alone") {
  test::CapturedStderr captured;
  diag::set_level(LogLevel::kWarn);
  const int data = memfd_create("the host's data", 0);
  const int kept = dup(2);
  dup2(data, 2);
  diag::say(LogLevel::kError, line_of("not here"));
  CHECK(lseek(data, 0, SEEK_END) == 0);
  close(2);
  diag::say(LogLevel::kError, line_of("nor with fd 2 closed"));
  dup2(kept, 2);
  diag::say(LogLevel::kError, line_of("here"));
  CHECK(captured.text() == "memtrace: here\n");
  close(kept);
  close(data);
}

TEST_CASE("a long line is cut and still ends") {
  test::CapturedStderr captured;
  diag::set_level(LogLevel::kWarn);
  const Line line = line_of(std::string(2000, 'x'));
  CHECK(line.cut());
  diag::say(LogLevel::kError, line);
  CHECK(captured.text() == "memtrace: " + std::string(511, 'x') + "\n");
}

TEST_CASE("a reader that is gone or does not read is no reason to die or to wait") {
  CHECK(test::in_child([] {
          alarm(20);
          int ends[2];
          test::expect(pipe(ends) == 0 && dup2(ends[1], 2) == 2);
          diag::start();
          diag::set_level(LogLevel::kWarn);
          for (int i = 0; i < 1000; ++i) diag::say(LogLevel::kError, line_of(std::string(500, 'x')));
          int held = 0;
          test::expect(ioctl(ends[0], FIONREAD, &held) == 0 && held > 0);
          std::string text(static_cast<std::size_t>(held), ' ');
          test::expect(read(ends[0], text.data(), text.size()) == held);
          test::expect(text.ends_with("x\n") && text.size() % 511 == 0);  // whole lines only
          close(ends[0]);
          diag::say(LogLevel::kError, line_of("nobody"));
          sigset_t pending;
          test::expect(sigpending(&pending) == 0 && !sigismember(&pending, SIGPIPE));
          sigset_t mask;
          test::expect(pthread_sigmask(SIG_SETMASK, nullptr, &mask) == 0 && !sigismember(&mask, SIGPIPE));
        }).fine());
}

TEST_CASE("a limit on file sizes does not kill, and a signal that was pending stays so") {
  CHECK(test::in_child([] {
          char path[] = "/tmp/memtrace_diag_XXXXXX";
          const int file = mkstemp(path);
          unlink(path);
          test::expect(dup2(file, 2) == 2);
          diag::start();
          const rlimit none{0, 0};
          test::expect(setrlimit(RLIMIT_FSIZE, &none) == 0);
          diag::say(LogLevel::kError, line_of("too large"));
          sigset_t blocked;
          sigset_t pending;
          sigemptyset(&blocked);
          sigaddset(&blocked, SIGXFSZ);
          test::expect(pthread_sigmask(SIG_BLOCK, &blocked, nullptr) == 0 && raise(SIGXFSZ) == 0);
          diag::say(LogLevel::kError, line_of("too large"));
          test::expect(sigpending(&pending) == 0 && sigismember(&pending, SIGXFSZ));
        }).fine());
}

TEST_CASE("text is built in place") {
  FixedText<12> text;
  CHECK(text.view().empty());
  CHECK(text.c_str()[0] == '\0');
  text << "ab" << std::uint64_t{0};
  text.hex(0xbeef, 2).padded(7, 4);
  CHECK(text.view() == "ab0beef0007");  // full to the last byte
  CHECK_FALSE(text.cut());
  text << "!";
  CHECK(text.cut());
  CHECK(text.view() == "ab0beef0007");
  CHECK(std::strlen(text.c_str()) == 11);
  text.clear();
  CHECK_FALSE(text.cut());
  FixedText<32> number;
  number << UINT64_MAX;
  CHECK(number.view() == "18446744073709551615");
}

TEST_CASE("errors have the words users know") {
  for (const int error : {EACCES, ENOSPC, EROFS, EEXIST, EFBIG, ENOENT, EDQUOT}) {
    Line line;
    diag::append_error(line, error);
    CHECK(std::string(line.view()) == std::strerror(error));
  }
  Line line;
  diag::append_error(line, 4095);
  CHECK(line.view() == "error 4095");
}
