#include "analyzer/symbols/debug_files.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <utility>

namespace memtrace {
namespace {

constexpr std::string_view kDeleted = " (deleted)";
constexpr const char* kDefaultDebugPath = "/usr/lib/debug";
// A hole of a terabyte costs who leaves it nothing, and its checksum half an hour.
constexpr std::uintmax_t kLargestChecked = std::uintmax_t{4} << 30;

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string(".") : path.substr(0, slash);
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string join(const std::string& directory, const std::string& path) {
  return directory + (path.starts_with('/') ? "" : "/") + path;
}

std::string describe_build_id(const std::string& build_id) {
  return build_id.empty() ? std::string("no build-id") : "build-id " + build_id;
}

bool same_file(const std::string& a, const std::string& b) {
  std::error_code error;
  return std::filesystem::equivalent(a, b, error) && !error;
}

bool is_checkable(const std::string& path) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  return !error && size <= kLargestChecked;
}

bool crc_matches(const std::string& path, std::uint32_t wanted) {
  std::ifstream file(path, std::ios::binary);
  std::array<char, 1 << 16> buffer{};
  uLong crc = crc32(0, nullptr, 0);
  while (file.read(buffer.data(), buffer.size()) || file.gcount() > 0) {
    crc = crc32(crc, reinterpret_cast<const Bytef*>(buffer.data()), static_cast<uInt>(file.gcount()));
  }
  return crc == wanted;
}

// The file at `path` when it is the one with this build-id.
std::unique_ptr<ElfFile> open_checked(const std::string& path, const std::string& build_id,
                                      DebugFiles::Refusals& refusals) {
  auto opened = ElfFile::open(path);
  if (!opened) return nullptr;
  auto file = std::move(opened).value();
  if (file->build_id() == build_id) return file;
  refusals.push_back(path + " has " + describe_build_id(file->build_id()));
  return nullptr;
}

std::unique_ptr<ElfFile> first_checked(const std::vector<std::string>& paths, const std::string& build_id,
                                       DebugFiles::Refusals& refusals) {
  for (const std::string& path : paths) {
    if (auto file = open_checked(path, build_id, refusals)) return file;
  }
  return nullptr;
}

}  // namespace

std::string without_deleted_mark(const std::string& path) {
  return path.ends_with(kDeleted) ? path.substr(0, path.size() - kDeleted.size()) : path;
}

DebugFiles::DebugFiles(SymbolOptions options) : options_(std::move(options)) {
  while (options_.sysroot.ends_with('/')) options_.sysroot.pop_back();
  for (const std::string& directory : options_.debug_paths) {
    roots_.push_back(directory);
    if (!options_.sysroot.empty()) roots_.push_back(join(options_.sysroot, directory));
  }
  roots_.push_back(options_.sysroot + kDefaultDebugPath);
}

std::unique_ptr<ElfFile> DebugFiles::find_binary(const Module& module, Refusals& refusals) {
  const std::string path = without_deleted_mark(module.path);
  const std::string local = options_.sysroot.empty() ? path : join(options_.sysroot, path);
  const bool deleted = path.size() != module.path.size();
  if (module.build_id.empty()) {
    // What lies there now is another file for certain, and there is no id to say that it is equal.
    if (deleted) {
      refusals.push_back(local + " cannot be told from the deleted file, which had no build-id");
      return nullptr;
    }
    auto opened = ElfFile::open(local);
    return opened ? std::move(opened).value() : nullptr;
  }
  if (auto file = open_checked(local, module.build_id, refusals)) return file;
  if (auto file = first_checked(build_id_paths(module.build_id, ""), module.build_id, refusals)) return file;
  return first_checked(paths_under_debug_paths(path), module.build_id, refusals);
}

std::unique_ptr<ElfFile> DebugFiles::find_debug_file(const Module& module, const ElfFile* binary,
                                                     Refusals& refusals) {
  const std::string path = without_deleted_mark(module.path);
  const std::string& build_id =
      module.build_id.empty() && binary != nullptr ? binary->build_id() : module.build_id;

  if (!build_id.empty()) {
    std::vector<std::string> candidates = build_id_paths(build_id, ".debug");
    for (std::string& candidate : paths_under_debug_paths(path)) candidates.push_back(std::move(candidate));
    for (const std::string& candidate : candidates) {
      if (binary != nullptr && same_file(candidate, binary->path())) continue;
      auto file = open_checked(candidate, build_id, refusals);
      if (file != nullptr && (file->has_debug_info() || file->has_symtab())) return file;
    }
  }
  if (const auto link = binary != nullptr ? binary->debug_link() : std::nullopt) {
    for (const std::string& candidate : debug_link_paths(directory_of(binary->path()), link->name)) {
      if (same_file(candidate, binary->path())) continue;
      auto opened = ElfFile::open(candidate);
      if (!opened) continue;
      auto file = std::move(opened).value();
      // Equal ids say more than a checksum, and spare reading a gigabyte.
      if (!build_id.empty() && file->build_id() == build_id) return file;
      if (!build_id.empty() && !file->build_id().empty()) {
        refusals.push_back(candidate + " has " + describe_build_id(file->build_id()));
      } else if (!is_checkable(candidate)) {
        refusals.push_back(candidate + " is too large to be checked against .gnu_debuglink");
      } else if (!crc_matches(candidate, link->crc)) {
        refusals.push_back(candidate + " has another checksum than .gnu_debuglink wants");
      } else {
        return file;
      }
    }
  }
  DebuginfodClient* client = build_id.empty() ? nullptr : debuginfod();
  const auto fetched = client != nullptr ? client->find_debug_file(build_id) : std::nullopt;
  return fetched ? open_checked(*fetched, build_id, refusals) : nullptr;
}

std::unique_ptr<ElfFile> DebugFiles::find_alternate(const ElfFile& debug_file, Refusals& refusals) {
  const auto link = debug_file.alternate_link();
  if (!link || link->build_id.empty()) return nullptr;
  std::vector<std::string> candidates = build_id_paths(link->build_id, ".debug");
  if (link->name.starts_with('/')) {
    candidates.push_back(options_.sysroot + link->name);
  } else {
    candidates.push_back(join(directory_of(debug_file.path()), link->name));
    // Debug files are reached through links in .build-id, and dwz wrote the name relative to the real place.
    std::error_code error;
    const auto real = std::filesystem::canonical(debug_file.path(), error);
    if (!error) candidates.push_back(join(real.parent_path().string(), link->name));
  }
  for (const std::string& root : roots_)
    candidates.push_back(join(join(root, ".dwz"), base_name(link->name)));
  if (auto file = first_checked(candidates, link->build_id, refusals)) return file;
  DebuginfodClient* client = debuginfod();
  const auto fetched = client != nullptr ? client->find_debug_file(link->build_id) : std::nullopt;
  return fetched ? open_checked(*fetched, link->build_id, refusals) : nullptr;
}

std::string DebugFiles::debuginfod_failure() const {
  return debuginfod_ != nullptr ? debuginfod_->failure() : std::string();
}

std::vector<std::string> DebugFiles::build_id_paths(const std::string& build_id, const char* suffix) const {
  std::vector<std::string> paths;
  // The id comes from the snapshot: anything but digits could lead out of the directory.
  if (build_id.size() < 3 || build_id.find_first_not_of("0123456789abcdef") != std::string::npos)
    return paths;
  for (const std::string& root : roots_) {
    paths.push_back(join(root, ".build-id/" + build_id.substr(0, 2) + "/" + build_id.substr(2) + suffix));
  }
  return paths;
}

std::vector<std::string> DebugFiles::paths_under_debug_paths(const std::string& module_path) const {
  std::vector<std::string> paths;
  for (const std::string& root : roots_) {
    for (const char* suffix : {".debug", ""}) {
      paths.push_back(join(root, module_path + suffix));
      paths.push_back(join(root, base_name(module_path) + suffix));
    }
  }
  return paths;
}

std::vector<std::string> DebugFiles::debug_link_paths(const std::string& directory,
                                                      const std::string& name) const {
  const std::string file = base_name(name);
  std::vector<std::string> paths{join(directory, file), join(directory, ".debug/" + file)};
  // Below a debug directory files are filed by their path on the target, so the sysroot is taken off.
  std::string target = directory;
  if (!options_.sysroot.empty() && target.starts_with(options_.sysroot))
    target.erase(0, options_.sysroot.size());
  for (const std::string& root : roots_) {
    paths.push_back(join(join(root, target), file));
    paths.push_back(join(root, file));
  }
  return paths;
}

DebuginfodClient* DebugFiles::debuginfod() {
  if (!std::exchange(debuginfod_tried_, true) && options_.debuginfod)
    debuginfod_ = DebuginfodClient::create();
  return debuginfod_.get();
}

}  // namespace memtrace
