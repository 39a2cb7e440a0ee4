// Would break: a typo in a setting passes unseen, or a wrong value changes what the program does.
#include "preload/options.hpp"

#include <csignal>
#include <string>
#include <vector>

#include "tests/support/captured_stderr.hpp"
#include "tests/support/catch.hpp"

using namespace memtrace;

namespace {

struct Read {
  std::vector<std::string> settings;  // options hold views into them
  Options options;
  std::string messages;
};

Read read(std::vector<std::string> settings) {
  Read result;
  result.settings = std::move(settings);
  std::vector<const char*> environment;
  for (const std::string& setting : result.settings) environment.push_back(setting.c_str());
  environment.push_back(nullptr);
  test::CapturedStderr captured;
  read_options(environment.data(), result.options);
  result.messages = captured.text();
  diag::set_level(LogLevel::kWarn);
  return result;
}

std::string not_understood(const std::string& setting, const std::string& expected) {
  return "memtrace: " + setting + " is not understood: expected " + expected + "; the default is used\n";
}

struct GoodSize {
  const char* text;
  std::uint64_t bytes;
};

}  // namespace

TEST_CASE("without settings everything has its default, silently") {
  const Read result = read({"HOME=/root", "MEMTRACER=1", "XMEMTRACE_DIR=/x", "MEMTRACE_DIR", "="});
  CHECK(result.messages.empty());
  CHECK(result.options.enabled == Options::Enabled::kOn);
  CHECK(result.options.sample.mode == SamplingMode::kPoissonBytes);
  CHECK(result.options.sample.interval_bytes == 512 * 1024);
  CHECK(result.options.dir.empty());
  CHECK(result.options.signal == SIGUSR2);
  CHECK_FALSE(result.options.at_exit);
  CHECK(result.options.max_frames == 64);
  CHECK(result.options.unwind == UnwindChoice::kAuto);
  CHECK(result.options.mmap);
  CHECK(result.options.only.empty());
  CHECK(result.options.children);
  CHECK(result.options.log == LogLevel::kWarn);
  CHECK(result.options.tags.empty());
  CHECK(result.options.seed == 0);
  Options untouched;
  read_options(nullptr, untouched);
  CHECK(untouched.max_frames == 64);
}

TEST_CASE("every setting's good values") {
  const Read all =
      read({"MEMTRACE=force", "MEMTRACE_SAMPLE=all", "MEMTRACE_DIR=/var/a b", "MEMTRACE_SIGNAL=none",
            "MEMTRACE_AT_EXIT=1", "MEMTRACE_FRAMES=256", "MEMTRACE_UNWIND=fp", "MEMTRACE_MMAP=0",
            "MEMTRACE_ONLY=redis-*,x?", "MEMTRACE_CHILDREN=0", "MEMTRACE_LOG=info",
            "MEMTRACE_TAGS=a=1,b=x=y,c=", "MEMTRACE_SEED=9999999999999999999"});
  CHECK(all.messages.empty());
  CHECK(all.options.enabled == Options::Enabled::kForced);
  CHECK(all.options.sample.mode == SamplingMode::kAll);
  CHECK(all.options.dir == "/var/a b");
  CHECK(all.options.signal == 0);
  CHECK(all.options.at_exit);
  CHECK(all.options.max_frames == 256);
  CHECK(all.options.unwind == UnwindChoice::kFramePointer);
  CHECK_FALSE(all.options.mmap);
  CHECK(all.options.only == "redis-*,x?");
  CHECK_FALSE(all.options.children);
  CHECK(all.options.log == LogLevel::kInfo);
  CHECK(all.options.tags == "a=1,b=x=y,c=");
  CHECK(all.options.seed == 9999999999999999999U);

  CHECK(read({"MEMTRACE=0"}).options.enabled == Options::Enabled::kOff);
  CHECK(read({"MEMTRACE=1"}).options.enabled == Options::Enabled::kOn);
  CHECK(read({"MEMTRACE_FRAMES=1"}).options.max_frames == 1);
  CHECK(read({"MEMTRACE_UNWIND=cfi"}).options.unwind == UnwindChoice::kCfi);
  CHECK(read({"MEMTRACE_UNWIND=boost"}).options.unwind == UnwindChoice::kBoost);
  CHECK(read({"MEMTRACE_UNWIND=libunwind"}).options.unwind == UnwindChoice::kLibunwind);
  CHECK(read({"MEMTRACE_UNWIND=auto"}).options.unwind == UnwindChoice::kAuto);
  CHECK(read({"MEMTRACE_LOG=error"}).options.log == LogLevel::kError);
  CHECK(read({"MEMTRACE_MMAP=1"}).options.mmap);
  CHECK(read({"MEMTRACE_SAMPLE=1"}).options.sample.interval_bytes == 1);
  CHECK(read({"MEMTRACE_SAMPLE=1024GiB"}).options.sample.interval_bytes == std::uint64_t{1} << 40);
  const std::pair<const char*, int> signals[] = {{"SIGUSR1", SIGUSR1},
                                                 {"USR2", SIGUSR2},
                                                 {"SIGRTMIN", SIGRTMIN},
                                                 {"RTMIN+3", SIGRTMIN + 3},
                                                 {"SIGRTMIN+30", SIGRTMAX}};
  for (const auto& [name, number] : signals) {
    const Read result = read({std::string("MEMTRACE_SIGNAL=") + name});
    CHECK(result.options.signal == number);
    CHECK(result.messages.empty());
  }
}

TEST_CASE("every setting's bad values: one line, and the default") {
  const std::pair<const char*, std::vector<const char*>> bad[] = {
      {"MEMTRACE_SAMPLE", {"0", "ALL", "-1", "1.5M", "512kib", "1025GiB", "18446744073709551616", "x", " 1"}},
      {"MEMTRACE_SIGNAL", {"SIGTERM", "12", "SIGRTMIN+31", "SIGRTMIN-1", "SIGRTMIN+", "SIG", "RTMIN3"}},
      {"MEMTRACE_AT_EXIT", {"2", "yes", "true", "01"}},
      {"MEMTRACE_FRAMES", {"0", "257", "-5", "64 ", "99999999999999999999"}},
      {"MEMTRACE_UNWIND", {"FP", "dwarf", "fp,"}},
      {"MEMTRACE_MMAP", {"no"}},
      {"MEMTRACE_CHILDREN", {"10"}},
      {"MEMTRACE_LOG", {"debug", "WARN"}},
      {"MEMTRACE_TAGS", {"a", "a=1,b", "=1", "a=1,,b=2", "a=1,", ","}},
      {"MEMTRACE_SEED", {"x", "-1", "0x10"}},
      {"MEMTRACE", {"2", "on", "FORCE"}}};
  const auto expected = [](const std::string& name) -> std::string {
    if (name == "MEMTRACE") return "0, 1 or force";
#define MEMTRACE_OPTION(NAME, member, parser, initial, text) \
  if (name == "MEMTRACE_" #NAME) return text;
#include "preload/options.inc"
#undef MEMTRACE_OPTION
    return {};
  };
  for (const auto& [name, values] : bad) {
    for (const char* value : values) {
      const std::string setting = std::string(name) + "=" + value;
      const Read result = read({setting});
      CHECK(result.messages == not_understood(setting, expected(name)));
      const Options& options = result.options;
      const Options initial;
      CHECK(options.enabled == initial.enabled);
      CHECK(options.sample.mode == initial.sample.mode);
      CHECK(options.sample.interval_bytes == initial.sample.interval_bytes);
      CHECK(options.signal == initial.signal);
      CHECK(options.at_exit == initial.at_exit);
      CHECK(options.max_frames == initial.max_frames);
      CHECK(options.unwind == initial.unwind);
      CHECK(options.mmap == initial.mmap);
      CHECK(options.children == initial.children);
      CHECK(options.log == initial.log);
      CHECK(options.tags == initial.tags);
      CHECK(options.seed == initial.seed);
    }
  }
}

TEST_CASE("tags that a snapshot has no room for are refused, not cut") {
  const std::string longest = "a=" + std::string(509, 'x');
  CHECK(read({"MEMTRACE_TAGS=" + longest}).options.tags == longest);
  const Read result = read({"MEMTRACE_TAGS=" + longest + "y"});
  CHECK(result.options.tags.empty());
  CHECK(result.messages.starts_with("memtrace: MEMTRACE_TAGS=a=xxx"));
}

TEST_CASE("an empty value is as good as none") {
#define MEMTRACE_OPTION(NAME, member, parser, initial, text) "MEMTRACE_" #NAME "=",
  const Read result = read({
      "MEMTRACE=",
#include "preload/options.inc"
  });
#undef MEMTRACE_OPTION
  CHECK(result.messages.empty());
  CHECK(result.options.max_frames == 64);
}

TEST_CASE("an unknown setting is told the nearest known one") {
  const std::pair<const char*, const char*> typos[] = {
      {"SAMPEL", "SAMPLE"}, {"DIRECTORY", "DIR"}, {"SIGNALS", "SIGNAL"},  {"ATEXIT", "AT_EXIT"},
      {"FRAME", "FRAMES"},  {"TAG", "TAGS"},      {"CHILDS", "CHILDREN"}, {"UNWINDER", "UNWIND"}};
  for (const auto& [typo, nearest] : typos) {
    CHECK(read({std::string("MEMTRACE_") + typo + "=1"}).messages ==
          std::string("memtrace: MEMTRACE_") + typo +
              " is not a setting of this version; the nearest is MEMTRACE_" + nearest + "\n");
  }
  const std::string endless(5'000, 'x');
  const std::string messages = read({"MEMTRACE_" + endless + "=1"}).messages;
  CHECK(messages.starts_with("memtrace: MEMTRACE_xxx"));
  CHECK(messages.ends_with("x\n"));
  CHECK(messages.size() < 600);
}

TEST_CASE("messages obey the level, wherever it stands; off means silent") {
  CHECK(read({"MEMTRACE_FRAMES=0", "MEMTRACE_LOG=error"}).messages.empty());
  CHECK(read({"MEMTRACE_FRAMES=0", "MEMTRACE_TYPO=1", "MEMTRACE=0"}).messages.empty());
  CHECK(read({"MEMTRACE_FRAMES=0", "MEMTRACE_LOG=bad"}).messages ==
        not_understood("MEMTRACE_FRAMES=0", "a number from 1 to 256") +
            not_understood("MEMTRACE_LOG=bad", "error, warn or info"));
}

TEST_CASE("sizes") {
  constexpr GoodSize kGood[] = {{"1", 1},
                                {"64B", 64},
                                {"1K", 1024},
                                {"512KiB", 512 * 1024},
                                {"3M", 3 << 20},
                                {"3MiB", 3 << 20},
                                {"2G", std::uint64_t{2} << 30},
                                {"2GiB", std::uint64_t{2} << 30},
                                {"0001", 1},
                                {"9223372036854775807", INT64_MAX},
                                {"8589934591GiB", std::uint64_t{8589934591} << 30}};
  for (const GoodSize& good : kGood) {
    std::uint64_t bytes = 0;
    CHECK(parse_size(good.text, bytes));
    CHECK(bytes == good.bytes);
  }
  for (const char* bad : {"",
                          "B",
                          "KiB",
                          "0",
                          "0GiB",
                          "1kB",
                          "1KB",
                          "1 K",
                          "1KiBx",
                          "-1",
                          "+1",
                          "0x10",
                          "1e6",
                          "9223372036854775808",
                          "18446744073709551615",
                          "18446744073709551616",
                          "99999999999999999999999999",
                          "8589934592GiB",
                          "17179869184G",
                          "9007199254740992M",
                          "18014398509481984K"}) {
    CAPTURE(bad);
    std::uint64_t bytes = 0;
    CHECK_FALSE(parse_size(bad, bytes));
  }
}

TEST_CASE("patterns") {
  for (const auto& [patterns, name] : {std::pair{"", "anything"},
                                       {"*", ""},
                                       {"*", "redis"},
                                       {"redis-*", "redis-server"},
                                       {"redis-*", "redis-"},
                                       {"a,b,c*", "cx"},
                                       {"?", "x"},
                                       {"p?thon*", "python3.11"},
                                       {"*a*b*", "xxaxxbxx"},
                                       {"*aab", "aaab"},
                                       {"**", "x"},
                                       {"a**b", "ab"},
                                       {"*-server", "a-b-server"},
                                       {"a*", "a*"},
                                       {"x,*", "a,b"}}) {
    CAPTURE(patterns, name);
    CHECK(matches_any(patterns, name));
  }
  for (const auto& [patterns, name] : {std::pair{"redis-*", "redis"},
                                       {"redis", "redis-server"},
                                       {"?", ""},
                                       {"?", "xy"},
                                       {"*a*b", "ba"},
                                       {"a,b", "a,b"},
                                       {"REDIS", "redis"},
                                       {",", "x"},
                                       {"[a-z]", "b"},
                                       {"a*b", "a*c"}}) {
    CAPTURE(patterns, name);
    CHECK_FALSE(matches_any(patterns, name));
  }
  // A pattern that makes a naive matcher take for ever.
  std::string stars;
  for (int i = 0; i < 50; ++i) stars += "*a";
  CHECK_FALSE(matches_any(stars + "b", std::string(5'000, 'a')));
}
