// Would break: memdiff and memtrace crashing on a command line, or memtrace on what /proc and a program's
// file say.
//
// The first byte chooses which parser gets the rest; arguments and texts end with a zero byte.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "analyzer/launch.hpp"
#include "analyzer/options.hpp"
#include "analyzer/process_status.hpp"
#include "analyzer/report/printable.hpp"
#include "tests/fuzz/require.hpp"

namespace {

using namespace memtrace;
using fuzz::require;

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == '\0') {
      parts.emplace_back();
    } else {
      parts.back().push_back(c);
    }
  }
  return parts;
}

void memdiff_arguments(const std::string& text) {
  const std::vector<std::string> arguments = split(text);
  std::vector<const char*> argv = {"memdiff"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  const auto parsed = parse_options(static_cast<int>(argv.size()), argv.data());
  if (const auto* early = std::get_if<EarlyExit>(&parsed)) {
    require(early->code == 0 || early->code == 2);
    require(!early->text.empty() && early->text.back() == '\n');
    return;
  }
  const auto& options = std::get<Options>(parsed);
  require(!options.files.empty() && options.files.size() <= 2);
  for (const std::string& file : options.files) require(!file.empty());
  require(options.min_bytes <= std::uint64_t{1} << 62);
}

void process_texts(const std::string& text) {
  if (const auto status = parse_process_status(text)) {
    for (int signal = -1; signal < 70; ++signal) (void)contains_signal(status->caught, signal);
  }
  (void)is_environment(text);
  for (const char* name : {"MEMTRACE_DIR", "LD_PRELOAD", ""}) {
    if (const auto value = environment_value(text, name)) require(value->size() <= text.size());
  }
  if (const auto path = mapped_file(text, "libmemtrace.so")) require(path->size() <= text.size());
  if (const auto signal = parse_trigger_signal(text)) require(*signal >= 0 && *signal <= 64);
  if (is_valid_label(text)) require(text.size() >= 1 && text.size() <= 64);
  (void)is_snapshot_of(text, 4242, "");
  (void)is_snapshot_of(text, 4242, "label");
  (void)search_program(text.substr(0, 64), text.substr(std::min<std::size_t>(text.size(), 64), 4096));
  (void)preload_with("/usr/lib/libmemtrace.so", text);
  if (const auto problem = preload_problem(text.substr(0, text.find('\0')))) require(!problem->empty());
}

// A program's file, which must only be looked at: ELF of any kind, or a script.
void program_file(const std::string& bytes) {
  static const int kFile = memfd_create("program", MFD_CLOEXEC);
  require(kFile >= 0 && ftruncate(kFile, 0) == 0);
  require(pwrite(kFile, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  const std::string path = "/proc/self/fd/" + std::to_string(kFile);
  if (const auto problem = trace_problem(path, path)) require(!printable(*problem).empty());
  if (const auto problem = trace_problem(path, "/proc/self/exe")) require(!problem->empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0:
      memdiff_arguments(rest);
      break;
    case 1:
      process_texts(rest);
      break;
    default:
      program_file(rest);
  }
  return 0;
}
