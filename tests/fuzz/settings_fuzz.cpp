// Would break: the host at its start, by what its environment holds: the shim's settings are read there,
// before main.
//
// The input is an environment, entries ending with a zero byte, and then patterns and names for
// MEMTRACE_ONLY.
#include <string>
#include <vector>

#include "preload/options.hpp"
#include "preload/sampler.hpp"
#include "tests/fuzz/require.hpp"

namespace {

using memtrace::fuzz::require;

// As MEMTRACE_ONLY is meant: * stands for anything, ? for one character. Plain and slow.
bool matches(const std::string& pattern, const std::string& name) {
  std::string reached(name.size() + 1, '\0');
  reached[0] = 1;
  for (const char p : pattern) {
    for (std::size_t n = name.size() + 1; n-- > 0 && p != '*';)
      reached[n] = n > 0 && reached[n - 1] && (p == '?' || p == name[n - 1]);
    for (std::size_t n = 1; n <= name.size() && p == '*'; ++n) reached[n] = reached[n] || reached[n - 1];
  }
  return reached[name.size()] != 0;
}

bool matches_any(const std::string& patterns, const std::string& name) {
  std::size_t begin = 0;
  while (true) {
    const std::size_t end = patterns.find(',', begin);
    if (matches(patterns.substr(begin, end - begin), name)) return true;
    if (end == std::string::npos) return patterns.empty();
    begin = end + 1;
  }
}

// What options.hpp and the shim's start rely on.
void check(const memtrace::Options& options) {
  require(options.sample.interval_bytes >= 1 &&
          options.sample.interval_bytes <= memtrace::Sampler::kMaxInterval);
  require(options.max_frames >= 1 && options.max_frames <= 256);
  require(options.signal >= 0 && options.signal <= 64);
  require(options.tags.size() <= memtrace::kMaxTagsBytes);
  require(options.log <= memtrace::LogLevel::kInfo);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kMostForSlow = 4096;
  std::vector<std::string> entries(1);
  for (std::size_t i = 0; i < size; ++i) {
    if (data[i] == 0) {
      entries.emplace_back();
    } else {
      entries.back().push_back(static_cast<char>(data[i]));
    }
  }
  std::vector<const char*> environment;
  for (const std::string& entry : entries) environment.push_back(entry.c_str());
  environment.push_back(nullptr);
  memtrace::Options options;
  memtrace::read_options(environment.data(), options);
  check(options);
  memtrace::read_options(nullptr, options);

  if (size > kMostForSlow) return 0;
  const std::string& name = entries.back();
  for (const std::string& patterns : entries)
    require(memtrace::matches_any(patterns, name) == matches_any(patterns, name));
  return 0;
}
