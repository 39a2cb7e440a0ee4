#include "analyzer/symbols/split_files.hpp"

#include <sys/stat.h>

#include "analyzer/symbols/inflated_debug.hpp"

namespace memtrace {
namespace {

// As libdw joins them. Empty: no place.
std::string place_of(const std::string& name, const std::string& directory) {
  if (name.empty() || name.starts_with('/')) return name;
  return directory.empty() ? std::string() : directory + "/" + name;
}

}  // namespace

std::string SplitFiles::refusal(const std::string& name, const std::string& compilation_directory,
                                std::uint64_t& line_bytes_left, WorkLeft& work) {
  const std::string beside = place_of(name, directory_);
  const std::string where_made = place_of(name, place_of(compilation_directory, directory_));
  std::string why = refusal_at(beside, line_bytes_left, work);
  if (why.empty() && where_made != beside) why = refusal_at(where_made, line_bytes_left, work);
  return why;
}

// Nothing there is nothing to refuse.
std::string SplitFiles::refusal_at(const std::string& path, std::uint64_t& line_bytes_left, WorkLeft& work) {
  struct stat status {};
  if (path.empty() || stat(path.c_str(), &status) != 0) return {};
  const auto opened = ElfFile::open(path);
  if (!opened) return opened.error();
  const ElfFile& file = *opened.value();
  const Inflation inflation = inflation_of(file);
  if (inflation.beyond_measure || inflation.bytes > inflated_bytes_left_)
    return "decompressed it would be too large";
  const std::uint64_t line_bytes = inflated_bytes(file, "debug_line.dwo");
  if (line_bytes > line_bytes_left) return "its line table is too large";
  inflated_bytes_left_ -= inflation.bytes;
  line_bytes_left -= line_bytes;
  if (known_.emplace(status.st_dev, status.st_ino).second) work.add(inflated_bytes(file, "debug_info.dwo"));
  return {};
}

}  // namespace memtrace
