#include "analyzer/process_status.hpp"

#include <fmt/core.h>
#include <signal.h>

#include <algorithm>
#include <charconv>
#include <vector>

namespace memtrace {
namespace {

constexpr std::string_view kBlanks = " \t";

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// What comes before the next end mark, which is taken off `text` with it.
std::string_view take_until(char end_mark, std::string_view& text) {
  const std::size_t end = std::min(text.find(end_mark), text.size());
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

// The rest of the line that starts with `key`, such as "SigCgt:".
std::optional<std::string_view> field(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const std::string_view line = take_until('\n', text);
    if (line.starts_with(key)) return trim(line.substr(key.size()));
  }
  return std::nullopt;
}

std::vector<std::string_view> words(std::string_view text) {
  std::vector<std::string_view> parts;
  while (!(text = trim(text)).empty()) {
    const std::size_t end = std::min(text.find_first_of(kBlanks), text.size());
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return parts;
}

template <class Number>
bool parse(std::string_view text, Number& number, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

bool parse_mask(std::string_view status, std::string_view key, std::uint64_t& mask) {
  const auto text = field(status, key);
  return text && parse(*text, mask, 16);
}

bool parse_effective_id(std::string_view status, std::string_view key, unsigned& id) {
  const auto text = field(status, key);
  if (!text) return false;
  const auto ids = words(*text);  // real, effective, saved, file system
  return ids.size() >= 2 && parse(ids[1], id);
}

bool all_in(std::string_view text, std::string_view set) {
  return !text.empty() && text.find_first_not_of(set) == std::string_view::npos;
}

}  // namespace

std::optional<ProcessStatus> parse_process_status(std::string_view text) {
  ProcessStatus status;
  const auto state = field(text, "State:");
  const auto pid = field(text, "Pid:");
  if (!state || state->empty() || !pid || !parse(*pid, status.own_pid)) return std::nullopt;
  status.state = state->front();
  if (const auto nested = field(text, "NSpid:")) {  // absent before Linux 4.1
    const auto pids = words(*nested);
    if (pids.empty() || !parse(pids.back(), status.own_pid)) return std::nullopt;
  }
  if (const auto parent = field(text, "PPid:"); parent && !parse(*parent, status.parent)) return std::nullopt;
  if (const auto filters = field(text, "Seccomp_filters:");
      filters && !parse(*filters, status.seccomp_filters))
    return std::nullopt;
  if (!parse_effective_id(text, "Uid:", status.effective_uid) ||
      !parse_effective_id(text, "Gid:", status.effective_gid) ||
      !parse_mask(text, "SigBlk:", status.blocked) || !parse_mask(text, "SigIgn:", status.ignored) ||
      !parse_mask(text, "SigCgt:", status.caught))
    return std::nullopt;
  return status;
}

std::optional<std::string> environment_value(std::string_view environment, std::string_view name) {
  while (!environment.empty()) {
    const std::string_view entry = take_until('\0', environment);
    if (entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=')
      return std::string(entry.substr(name.size() + 1));
  }
  return std::nullopt;
}

bool is_environment(std::string_view environment) {
  const auto preload = environment_value(environment, "LD_PRELOAD");
  if (!preload || preload->find("libmemtrace") == std::string::npos) return false;
  while (!environment.empty()) {
    if (take_until('\0', environment).find('=') == std::string_view::npos) return false;
  }
  return true;
}

std::optional<std::string> mapped_file(std::string_view maps, std::string_view file_name) {
  while (!maps.empty()) {
    const std::string_view line = take_until('\n', maps);
    const std::size_t path_start = line.find('/');
    if (path_start != std::string_view::npos) {
      const std::string_view path = line.substr(path_start);
      const std::string_view whole = path.substr(0, path.rfind(" (deleted)"));
      if (whole.substr(whole.rfind('/') + 1) == file_name) return std::string(whole);
    }
  }
  return std::nullopt;
}

std::optional<int> parse_trigger_signal(std::string_view text) {
  if (text.starts_with("SIG")) text.remove_prefix(3);
  if (text == "USR1") return SIGUSR1;
  if (text == "USR2") return SIGUSR2;
  if (text == "none") return 0;
  constexpr std::string_view kRealTime = "RTMIN";
  if (!text.starts_with(kRealTime)) return std::nullopt;
  text.remove_prefix(kRealTime.size());
  if (text.empty()) return SIGRTMIN;
  int offset = 0;
  if (text.front() != '+' || !all_in(text.substr(1), "0123456789") || !parse(text.substr(1), offset))
    return std::nullopt;
  return offset <= SIGRTMAX - SIGRTMIN ? std::optional(SIGRTMIN + offset) : std::nullopt;
}

bool is_snapshot_of(std::string_view file_name, pid_t pid, std::string_view label) {
  constexpr std::string_view kSuffix = ".snap";
  constexpr std::string_view kDigits = "0123456789";
  constexpr std::size_t kSessionDigits = 8;
  if (file_name.starts_with('.') || !file_name.ends_with(kSuffix)) return false;
  const std::string_view stem = file_name.substr(0, file_name.size() - kSuffix.size());
  const std::string pid_field = fmt::format(".{}.", pid);
  // The executable's name may itself look like fields: every place where the pid could stand is tried.
  for (std::size_t at = stem.find(pid_field, 1); at != std::string_view::npos;
       at = stem.find(pid_field, at + 1)) {
    const std::string_view rest = stem.substr(at + pid_field.size());
    if (rest.size() < kSessionDigits + 2 || rest[kSessionDigits] != '.' ||
        !all_in(rest.substr(0, kSessionDigits), "0123456789abcdef"))
      continue;
    const std::string_view number_and_label = rest.substr(kSessionDigits + 1);
    const std::size_t digits = std::min(number_and_label.find('.'), number_and_label.size());
    const std::string_view given_label =
        number_and_label.substr(std::min(digits + 1, number_and_label.size()));
    if (all_in(number_and_label.substr(0, digits), kDigits) && (label.empty() || label == given_label))
      return true;
  }
  return false;
}

bool is_valid_label(std::string_view label) {
  constexpr std::size_t kMaxBytes = 64;
  return label.size() <= kMaxBytes &&
         all_in(label, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
}

}  // namespace memtrace
