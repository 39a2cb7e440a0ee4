// One-line messages to the user on fd 2, prefixed "memtrace: ".
//
// Called by: start-up, the handler of the trigger signal, the snapshot thread. Async-signal-safe, no heap, no
// libc. Written only while fd 2 is still the file it was at start: a service that reused the number for its
// data must not find our text in it. Never waits: a line that fd 2 has no room for is dropped. Lines are cut
// at 512 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace memtrace {

enum class LogLevel : std::uint8_t { kError, kWarn, kInfo };

// Builds a line or a path in place; what does not fit is cut and remembered.
template <std::size_t N>
class FixedText {
 public:
  FixedText& operator<<(std::string_view text) {
    for (const char c : text) {
      if (size_ + 1 < N) {
        data_[size_++] = c;
      } else {
        cut_ = true;
      }
    }
    data_[size_] = '\0';
    return *this;
  }
  FixedText& operator<<(std::uint64_t number) { return number_in_base(number, 10, 1); }
  FixedText& hex(std::uint64_t number, int digits) { return number_in_base(number, 16, digits); }
  FixedText& padded(std::uint64_t number, int digits) { return number_in_base(number, 10, digits); }
  void clear() {
    size_ = 0;
    cut_ = false;
    data_[0] = '\0';
  }
  [[nodiscard]] const char* c_str() const { return data_; }
  [[nodiscard]] std::string_view view() const { return {data_, size_}; }
  [[nodiscard]] bool cut() const { return cut_; }

 private:
  FixedText& number_in_base(std::uint64_t number, unsigned base, int digits) {
    char reversed[20];
    int n = 0;
    do {
      reversed[n++] = "0123456789abcdef"[number % base];
      number /= base;
    } while (number != 0 || n < digits);
    while (n > 0) *this << std::string_view(&reversed[--n], 1);
    return *this;
  }

  char data_[N] = {};
  std::size_t size_ = 0;
  bool cut_ = false;
};

using Line = FixedText<512>;

namespace diag {

// Remembers which file fd 2 is. Before this, nothing is written.
void start();
void set_level(LogLevel level);

// `line` without prefix and newline. Dropped when the level is not wanted.
void say(LogLevel level, const Line& line);

// "No space left on device" for the errors a snapshot can meet, "error 123" otherwise.
Line& append_error(Line& line, int error);

}  // namespace diag
}  // namespace memtrace
