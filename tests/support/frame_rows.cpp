#include "tests/support/frame_rows.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>

namespace memtrace::test {
namespace {

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

std::uint64_t hex(const std::string& text) { return std::stoull(text, nullptr, 16); }

struct Parser {
  const std::function<void(const FrameRow&)>& see;
  std::map<std::string, bool> signal_by_cie;
  std::vector<std::string> columns;
  FrameRow row;
  std::uint64_t end = 0;
  bool in_entry = false;
  bool pending = false;
  std::size_t count = 0;

  void flush(std::uint64_t until) {
    if (pending) {
      row.end = until;
      see(row);
      ++count;
    }
    pending = false;
  }

  void line(const std::string& text) {
    const auto words = words_of(text);
    if (words.size() > 3 && words[3] == "CIE") {
      signal_by_cie[words[0]] = words.size() > 4 && words[4].find('S') != std::string::npos;
      flush(end);
      in_entry = false;
    } else if (words.size() > 5 && words[3] == "FDE") {
      flush(end);
      const std::string& range = words.back();  // pc=BEGIN..END
      end = hex(range.substr(range.find("..") + 2));
      row.is_signal_frame = signal_by_cie[words[4].substr(words[4].find('=') + 1)];
      in_entry = true;
      columns.clear();
    } else if (!words.empty() && words[0] == "LOC") {
      columns = words;
    } else if (in_entry && words.size() > 1 && words[0].size() == 16) {
      const std::uint64_t begin = hex(words[0]);
      flush(begin);
      const bool is_signal_frame = row.is_signal_frame;
      row = FrameRow{};
      row.is_signal_frame = is_signal_frame;
      row.begin = begin;
      row.cfa = words[1];
      for (std::size_t i = 2; i < words.size() && i < columns.size(); ++i) {
        if (columns[i] == "rbp") row.rbp = words[i];
        if (columns[i] == "ra") row.return_address = words[i];
      }
      pending = true;
    }
  }
};

}  // namespace

std::size_t for_each_frame_row(const std::string& path, const std::function<void(const FrameRow&)>& see) {
  std::string command = "LC_ALL=C readelf --wide --debug-dump=frames-interp '";
  command.append(path).append("' 2>/dev/null");
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  if (!pipe) throw std::runtime_error("cannot run readelf");
  Parser parser{see, {}, {}, {}};
  std::string text;
  for (char* got = nullptr; !std::feof(pipe.get());) {
    char bytes[4096];
    got = std::fgets(bytes, sizeof bytes, pipe.get());
    if (!got) break;
    text += got;
    if (text.back() != '\n') continue;
    parser.line(text);
    text.clear();
  }
  parser.flush(parser.end);
  if (parser.count == 0) throw std::runtime_error("readelf shows no unwind rows of " + path);
  return parser.count;
}

std::vector<FrameRow> frame_rows(const std::string& path) {
  std::vector<FrameRow> rows;
  for_each_frame_row(path, [&](const FrameRow& row) { rows.push_back(row); });
  std::sort(rows.begin(), rows.end(), [](const FrameRow& a, const FrameRow& b) { return a.begin < b.begin; });
  return rows;
}

}  // namespace memtrace::test
