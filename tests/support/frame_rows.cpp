#include "tests/support/frame_rows.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>

namespace memtrace::test {
namespace {

// A register that holds a value is two words, "r2 (rcx)": one here.
std::vector<std::string> words_of(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> words;
  for (std::string word; in >> word;) {
    if (word[0] == '(' && !words.empty()) continue;
    words.push_back(word);
  }
  return words;
}

std::uint64_t hex(const std::string& text) { return std::stoull(text, nullptr, 16); }

class Parser {
 public:
  explicit Parser(const std::function<void(const FrameRow&)>& see) : see_(see) {}

  void line(const std::string& text) {
    if (text.rfind("Contents of the ", 0) == 0) {
      flush(end_);
      in_loaded_section_ = text.find(".eh_frame ") != std::string::npos;
    }
    if (!in_loaded_section_) return;
    const auto words = words_of(text);
    if (words.size() > 3 && words[3] == "CIE") {
      flush(end_);
      cie_ = words[0];
      initial_[cie_] = FrameRow{};
      initial_[cie_].is_signal_frame = text.find("\"zRS\"") != std::string::npos;
    } else if (words.size() > 5 && words[3] == "FDE") {
      flush(end_);
      cie_.clear();
      const std::string range = words.back().substr(words.back().find('=') + 1);  // BEGIN..END
      end_ = hex(range.substr(range.find("..") + 2));
      row_ =
          initial_.at(words[4].substr(words[4].find('=') + 1));  // holds where no row of its own is printed
      row_.begin = hex(range.substr(0, range.find("..")));
      pending_ = true;
      columns_.clear();
    } else if (!words.empty() && words[0] == "LOC") {
      columns_ = words;
    } else if (words.size() > 1 && words[0].size() == 16) {
      take_row(words);
    }
  }

  std::size_t finish() {
    flush(end_);
    return count_;
  }

 private:
  void take_row(const std::vector<std::string>& words) {
    FrameRow row;
    row.begin = hex(words[0]);
    row.cfa = words[1];
    for (std::size_t i = 2; i < words.size() && i < columns_.size(); ++i) {
      if (columns_[i] == "rbp") row.rbp = words[i];
      if (columns_[i] == "ra") row.return_address = words[i];
    }
    if (!cie_.empty()) {
      row.is_signal_frame = initial_[cie_].is_signal_frame;
      initial_[cie_] = row;
      return;
    }
    row.is_signal_frame = row_.is_signal_frame;
    flush(row.begin);
    row_ = row;
    pending_ = true;
  }

  void flush(std::uint64_t until) {
    if (pending_ && until > row_.begin) {
      row_.end = until;
      see_(row_);
      ++count_;
    }
    pending_ = false;
  }

  const std::function<void(const FrameRow&)>& see_;
  bool in_loaded_section_ = false;  // .eh_frame, as against .debug_frame
  std::string cie_;                 // the one being read, if any
  std::map<std::string, FrameRow> initial_;
  std::vector<std::string> columns_;
  FrameRow row_;
  std::uint64_t end_ = 0;
  bool pending_ = false;
  std::size_t count_ = 0;
};

}  // namespace

std::size_t for_each_frame_row(const std::string& path, const std::function<void(const FrameRow&)>& see) {
  std::string command = "LC_ALL=C readelf --wide --debug-dump=frames-interp '";
  command.append(path).append("' 2>/dev/null");
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  if (!pipe) throw std::runtime_error("cannot run readelf");
  Parser parser(see);
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
  const std::size_t count = parser.finish();
  if (count == 0) throw std::runtime_error("readelf shows no unwind rows of " + path);
  return count;
}

std::vector<FrameRow> frame_rows(const std::string& path) {
  std::vector<FrameRow> rows;
  for_each_frame_row(path, [&](const FrameRow& row) { rows.push_back(row); });
  std::sort(rows.begin(), rows.end(), [](const FrameRow& a, const FrameRow& b) { return a.begin < b.begin; });
  return rows;
}

}  // namespace memtrace::test
