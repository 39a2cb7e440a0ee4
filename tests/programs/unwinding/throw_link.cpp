// One of five libraries that an exception is thrown through. THROW_LINK: its number; 5 throws.
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

namespace {
// Allocates while the stack is being unwound.
struct Cleanup {
  std::string* text;
  ~Cleanup() { *text += std::string(text->size() + 30, 'c'); }
};
}  // namespace

#if THROW_LINK < 5
void JOIN(throw_through_, THROW_NEXT)(std::string& text, int kind);
#endif

void JOIN(throw_through_, THROW_LINK)(std::string& text, int kind) {
  const Cleanup cleanup{&text};
  std::vector<std::unique_ptr<int>> held;
  for (int i = 0; i < 5; ++i) held.push_back(std::make_unique<int>(i));
#if THROW_LINK < 5
  try {
    JOIN(throw_through_, THROW_NEXT)(text, kind);
  } catch (const std::out_of_range& error) {
    text = error.what();
    if (THROW_LINK % 2 == 0) throw;
    throw std::out_of_range(text + " through " + std::to_string(THROW_LINK));
  }
#else
  if (kind == 0) throw std::out_of_range("a text that does not fit into a short string");
  if (kind == 1) throw 7;
  throw std::runtime_error(std::string(100, 'r'));
#endif
}
