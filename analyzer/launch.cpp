#include "analyzer/launch.hpp"

#include <elf.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

namespace memtrace {
namespace {

namespace fs = std::filesystem;

constexpr const char* kShimName = "libmemtrace.so";

// The first bytes of a file that decide how it is started.
struct Elf {
  unsigned char elf_class = ELFCLASSNONE;
  Elf64_Half machine = EM_NONE;
  bool has_interpreter = false;
};

template <class T>
bool read_at(std::ifstream& file, std::uint64_t offset, T& out) {
  file.clear();
  file.seekg(static_cast<std::streamoff>(offset));
  return static_cast<bool>(file.read(reinterpret_cast<char*>(&out), sizeof(out)));
}

template <class Header, class Segment>
bool has_interpreter(std::ifstream& file) {
  Header header{};
  if (!read_at(file, 0, header) || header.e_phentsize != sizeof(Segment)) return false;
  for (std::uint64_t i = 0; i < header.e_phnum; ++i) {
    Segment segment{};
    if (!read_at(file, header.e_phoff + i * sizeof(Segment), segment)) return false;
    if (segment.p_type == PT_INTERP) return true;
  }
  return false;
}

std::optional<Elf> read_elf(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  Elf32_Ehdr header{};  // both classes agree up to e_machine
  if (!file || !read_at(file, 0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
    return std::nullopt;
  Elf elf;
  elf.elf_class = header.e_ident[EI_CLASS];
  elf.machine = header.e_machine;
  elf.has_interpreter = elf.elf_class == ELFCLASS64 ? has_interpreter<Elf64_Ehdr, Elf64_Phdr>(file)
                                                    : has_interpreter<Elf32_Ehdr, Elf32_Phdr>(file);
  return elf;
}

// "#!/usr/bin/python3 -u" -> "/usr/bin/python3"; empty when the file is no script.
std::string script_interpreter(const fs::path& path) {
  std::array<char, 256> start{};
  std::ifstream file(path, std::ios::binary);
  file.read(start.data(), start.size());
  std::string_view line(start.data(), static_cast<std::size_t>(file.gcount()));
  if (!line.starts_with("#!")) return {};
  line = line.substr(2, line.find('\n') - 2);
  line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
  return std::string(line.substr(0, line.find_first_of(" \t")));
}

std::optional<std::string> privilege_problem(const fs::path& program) {
  struct stat status {};
  if (stat(program.c_str(), &status) != 0) return std::nullopt;
  const bool changes_user = (status.st_mode & S_ISUID) != 0 && status.st_uid != geteuid();
  const bool changes_group = (status.st_mode & S_ISGID) != 0 && status.st_gid != getegid();
  const bool gains_capabilities =
      geteuid() != 0 && getxattr(program.c_str(), "security.capability", nullptr, 0) > 0;
  if (!changes_user && !changes_group && !gains_capabilities) return std::nullopt;
  return fmt::format(
      "{} gains privileges when it starts, and the loader ignores LD_PRELOAD for such programs",
      program.string());
}

}  // namespace

std::optional<fs::path> find_shim(const fs::path& own_executable) {
  const fs::path here = own_executable.parent_path();
  // Installed (multiarch, then plain), side by side, build tree.
  for (const char* place : {"../lib/" MEMTRACE_MULTIARCH, "../lib", "../lib64", ".", "../preload"}) {
    std::error_code error;
    const fs::path found = fs::canonical(here / place / kShimName, error);
    if (!error) return found;
  }
  return std::nullopt;
}

std::optional<std::string> preload_problem(const fs::path& shim) {
  if (shim.string().find_first_of(": \t\n") == std::string::npos) return std::nullopt;
  return fmt::format(
      "the shim's path \"{}\" holds a colon or a blank, where the loader would cut it in two: move it",
      shim.string());
}

std::string preload_with(const fs::path& shim, std::string_view present) {
  for (std::string_view rest = present; !rest.empty();) {
    const std::size_t end = std::min(rest.find_first_of(": "), rest.size());
    if (rest.substr(0, end) == shim.string()) return std::string(present);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return present.empty() ? shim.string() : fmt::format("{}:{}", shim.string(), present);
}

fs::path search_program(std::string_view program, std::string_view path_variable) {
  if (program.find('/') != std::string_view::npos) return program;
  fs::path found_but_closed;
  while (true) {
    const std::size_t end = std::min(path_variable.find(':'), path_variable.size());
    const std::string_view directory = path_variable.substr(0, end);
    const fs::path candidate = fs::path(directory.empty() ? "." : directory) / program;
    std::error_code error;
    if (fs::is_regular_file(candidate, error)) {
      if (access(candidate.c_str(), X_OK) == 0) return candidate;
      found_but_closed = candidate;
    }
    if (end == path_variable.size()) return found_but_closed;
    path_variable.remove_prefix(end + 1);
  }
}

std::optional<std::string> trace_problem(const fs::path& program, const fs::path& shim) {
  constexpr int kMostInterpreters = 4;  // as the kernel
  fs::path current = program;
  for (int depth = 0; depth <= kMostInterpreters; ++depth) {
    if (auto problem = privilege_problem(current)) return problem;
    const auto elf = read_elf(current);
    if (!elf) {
      const std::string interpreter = script_interpreter(current);
      if (interpreter.empty()) return std::nullopt;  // not ours to judge: exec says what is wrong with it
      current = interpreter;
      continue;
    }
    const auto own = read_elf(shim);
    if (own && (elf->elf_class != own->elf_class || elf->machine != own->machine))
      return fmt::format("{} is made for another kind of machine ({} bit, ELF machine {}) than {}",
                         current.string(), elf->elf_class == ELFCLASS64 ? 64 : 32, elf->machine,
                         shim.string());
    if (!elf->has_interpreter)
      return fmt::format("{} is statically linked: no loader runs in it that could preload the shim",
                         current.string());
    return std::nullopt;
  }
  return std::nullopt;
}

int replace_process(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  const int reason = errno;
  fmt::print(stderr, "memtrace: cannot start {}: {}\n", command[0], std::strerror(reason));
  return reason == ENOENT ? 127 : 126;
}

}  // namespace memtrace
