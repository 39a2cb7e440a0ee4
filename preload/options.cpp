#include "preload/options.hpp"

#include <signal.h>

#include "preload/sampler.hpp"

#include "preload/no_heap.hpp"

namespace memtrace {
namespace {

bool parse_number(std::string_view text, std::uint64_t& number) {
  if (text.empty() || text.size() > 19) return false;
  number = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    number = number * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return true;
}

bool starts_with(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && std::string_view(text.data(), prefix.size()) == prefix;
}

std::string_view without_first(std::string_view text, std::size_t n) {
  return {text.data() + n, text.size() - n};
}

bool parse_sample(std::string_view text, SampleSetting& setting) {
  if (text == "all") {
    setting = {SamplingMode::kAll, 1};
    return true;
  }
  std::uint64_t bytes = 0;
  if (!parse_size(text, bytes) || bytes > Sampler::kMaxInterval) return false;
  setting = {SamplingMode::kPoissonBytes, bytes};
  return true;
}

bool parse_text(std::string_view text, std::string_view& out) {
  out = text;
  return !text.empty();
}

bool parse_tags(std::string_view text, std::string_view& out) {
  bool key = false;   // the part at hand has a name
  bool pair = false;  // and an equals sign
  for (const char c : text) {
    if (c == ',') {
      if (!pair) return false;
      key = pair = false;
    } else if (c == '=') {
      if (!key) return false;
      pair = true;
    } else {
      key = true;
    }
  }
  out = text;
  return pair && text.size() <= kMaxTagsBytes;
}

bool parse_switch(std::string_view text, bool& on) {
  on = text == "1";
  return on || text == "0";
}

bool parse_frames(std::string_view text, std::uint32_t& frames) {
  std::uint64_t number = 0;
  if (!parse_number(text, number) || number < 1 || number > 256) return false;
  frames = static_cast<std::uint32_t>(number);
  return true;
}

bool parse_signal(std::string_view text, int& signal) {
  if (starts_with(text, "SIG")) text = without_first(text, 3);
  if (text == "none") {
    signal = 0;
  } else if (text == "USR1") {
    signal = SIGUSR1;
  } else if (text == "USR2") {
    signal = SIGUSR2;
  } else if (starts_with(text, "RTMIN")) {
    text = without_first(text, 5);
    std::uint64_t offset = 0;
    if (!text.empty() && (text[0] != '+' || !parse_number(without_first(text, 1), offset))) return false;
    if (offset > static_cast<std::uint64_t>(SIGRTMAX - SIGRTMIN)) return false;
    signal = SIGRTMIN + static_cast<int>(offset);
  } else {
    return false;
  }
  return true;
}

template <class T>
struct Word {
  std::string_view text;
  T value;
};

template <class T, std::size_t kCount>
bool parse_word(std::string_view text, const Word<T> (&words)[kCount], T& value) {
  for (const Word<T>& word : words) {
    if (text != word.text) continue;
    value = word.value;
    return true;
  }
  return false;
}

bool parse_unwind(std::string_view text, UnwindChoice& choice) {
  constexpr Word<UnwindChoice> kWords[] = {{"auto", UnwindChoice::kAuto},
                                           {"cfi", UnwindChoice::kCfi},
                                           {"libunwind", UnwindChoice::kLibunwind},
                                           {"boost", UnwindChoice::kBoost},
                                           {"fp", UnwindChoice::kFramePointer}};
  return parse_word(text, kWords, choice);
}

bool parse_log(std::string_view text, LogLevel& level) {
  constexpr Word<LogLevel> kWords[] = {
      {"error", LogLevel::kError}, {"warn", LogLevel::kWarn}, {"info", LogLevel::kInfo}};
  return parse_word(text, kWords, level);
}

bool parse_enabled(std::string_view text, Options::Enabled& enabled) {
  using Enabled = Options::Enabled;
  constexpr Word<Enabled> kWords[] = {{"0", Enabled::kOff}, {"1", Enabled::kOn}, {"force", Enabled::kForced}};
  return parse_word(text, kWords, enabled);
}

constexpr std::string_view kNames[] = {
#define MEMTRACE_OPTION(NAME, member, parser, initial, expected) #NAME,
#include "preload/options.inc"
#undef MEMTRACE_OPTION
};

// Levenshtein's distance, for texts of at most 31 characters.
unsigned distance(std::string_view a, std::string_view b) {
  unsigned row[32];
  if (a.size() > 31 || b.size() > 31) return UINT32_MAX;
  for (unsigned j = 0; j <= b.size(); ++j) row[j] = j;
  for (unsigned i = 1; i <= a.size(); ++i) {
    unsigned diagonal = row[0];
    row[0] = i;
    for (unsigned j = 1; j <= b.size(); ++j) {
      const unsigned changed = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      const unsigned shorter = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
      row[j] = changed < shorter ? changed : shorter;
    }
  }
  return row[b.size()];
}

void complain_unknown(std::string_view name) {
  std::string_view nearest = kNames[0];
  unsigned best = UINT32_MAX;
  for (const std::string_view known : kNames) {
    const unsigned d = distance(name, known);
    if (d < best) {
      best = d;
      nearest = known;
    }
  }
  Line line;
  line << "MEMTRACE_" << name << " is not a setting of this version; the nearest is MEMTRACE_" << nearest;
  diag::say(LogLevel::kWarn, line);
}

void complain_value(std::string_view name, std::string_view value, std::string_view expected) {
  Line line;
  line << name << "=" << value << " is not understood: expected " << expected << "; the default is used";
  diag::say(LogLevel::kWarn, line);
}

// One setting of the environment; `complain` tells the second pass, after the log level is known.
void read_one(std::string_view name, std::string_view value, Options& options, bool complain) {
#define MEMTRACE_OPTION(NAME, member, parser, initial, expected) \
  if (name == #NAME) {                                           \
    decltype(options.member) parsed = initial;                   \
    if (parser(value, parsed)) {                                 \
      options.member = parsed;                                   \
    } else if (complain) {                                       \
      complain_value("MEMTRACE_" #NAME, value, expected);        \
    }                                                            \
    return;                                                      \
  }
#include "preload/options.inc"
#undef MEMTRACE_OPTION
  if (complain) complain_unknown(name);
}

void read_all(const char* const* environment, Options& options, bool complain) {
  for (; environment && *environment; ++environment) {
    const std::string_view entry(*environment);
    std::size_t equals = 0;
    while (equals < entry.size() && entry[equals] != '=') ++equals;
    if (equals == entry.size()) continue;
    const std::string_view name(entry.data(), equals);
    const std::string_view value = without_first(entry, equals + 1);
    if (value.empty()) continue;  // as good as unset
    if (name == "MEMTRACE") {
      if (!parse_enabled(value, options.enabled) && complain) complain_value(name, value, "0, 1 or force");
    } else if (starts_with(name, "MEMTRACE_")) {
      read_one(without_first(name, 9), value, options, complain);
    }
  }
}

bool matches(std::string_view pattern, std::string_view name) {
  // Greedy with one point of return: the last star.
  std::size_t p = 0;
  std::size_t n = 0;
  std::size_t star = SIZE_MAX;
  std::size_t retry = 0;
  while (n < name.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n]) && pattern[p] != '*') {
      ++p;
      ++n;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      retry = n;
    } else if (star != SIZE_MAX) {
      p = star + 1;
      n = ++retry;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace

bool parse_size(std::string_view text, std::uint64_t& bytes) {
  std::size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  if (!parse_number({text.data(), digits}, bytes)) return false;
  const std::string_view unit = without_first(text, digits);
  int shift = 0;
  if (unit == "KiB" || unit == "K") {
    shift = 10;
  } else if (unit == "MiB" || unit == "M") {
    shift = 20;
  } else if (unit == "GiB" || unit == "G") {
    shift = 30;
  } else if (!unit.empty() && unit != "B") {
    return false;
  }
  if (bytes == 0 || bytes > (UINT64_MAX >> 1) >> shift) return false;
  bytes <<= shift;
  return true;
}

bool matches_any(std::string_view patterns, std::string_view name) {
  if (patterns.empty()) return true;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= patterns.size(); ++i) {
    if (i < patterns.size() && patterns[i] != ',') continue;
    if (matches({patterns.data() + begin, i - begin}, name)) return true;
    begin = i + 1;
  }
  return false;
}

void read_options(const char* const* environment, Options& options) {
  read_all(environment, options, false);
  diag::set_level(options.log);
  if (options.enabled != Options::Enabled::kOff) read_all(environment, options, true);
}

}  // namespace memtrace
