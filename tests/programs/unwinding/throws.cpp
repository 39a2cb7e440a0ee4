// Throws exceptions through five libraries, again and again, from two threads. Exits 0.
#include <exception>
#include <future>
#include <string>

void throw_through_1(std::string& text, int kind);

static int caught(int rounds) {
  int count = 0;
  for (int i = 0; i < rounds; ++i) {
    std::string text;
    try {
      throw_through_1(text, i % 3);
    } catch (const std::exception& error) {
      const std::exception_ptr kept = std::current_exception();
      try {
        std::rethrow_exception(kept);
      } catch (...) {
        count += static_cast<int>(std::string(error.what()).size() > 20);
      }
    } catch (int number) {
      count += number == 7;
    }
  }
  return count;
}

int main() {
  constexpr int kRounds = 30;
  auto other = std::async(std::launch::async, caught, kRounds);
  return caught(kRounds) == kRounds && other.get() == kRounds ? 0 : 1;
}
