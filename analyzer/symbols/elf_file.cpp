#include "analyzer/symbols/elf_file.hpp"

#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <gelf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "analyzer/symbols/elf_sections.hpp"

namespace memtrace {
namespace {

constexpr std::size_t kMaxSegments = 4096;
// They are searched by name, often. What runs has a few dozen; object files, which have more, do not run.
constexpr std::size_t kMaxSections = 4096;

std::string hex(const unsigned char* bytes, std::size_t size) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(size * 2);
  for (std::size_t i = 0; i < size; ++i) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

std::string read_build_id(Elf* elf) {
  const void* bytes = nullptr;
  const ssize_t size = dwelf_elf_gnu_build_id(elf, &bytes);
  if (size <= 0 || size > 64) return {};
  return hex(static_cast<const unsigned char*>(bytes), static_cast<std::size_t>(size));
}

bool has_few_sections(Elf* elf) {
  std::size_t count = 0;
  return elf_getshdrnum(elf, &count) != 0 || count <= kMaxSections;
}

template <class Visit>
void for_each_load_segment(Elf* elf, Visit visit) {
  std::size_t count = 0;
  if (elf_getphdrnum(elf, &count) != 0) return;
  for (std::size_t i = 0; i < count && i < kMaxSegments; ++i) {
    GElf_Phdr segment;
    if (gelf_getphdr(elf, static_cast<int>(i), &segment) != nullptr && segment.p_type == PT_LOAD)
      visit(segment);
  }
}

}  // namespace

Result<std::unique_ptr<ElfFile>, std::string> ElfFile::open(const std::string& path) {
  elf_version(EV_CURRENT);
  // Non-blocking: a path that names a FIFO must not hang us.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return std::string(std::strerror(errno));
  struct stat status {};
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(fd);
    return std::string("not a regular file");
  }
  Elf* elf = elf_begin(fd, ELF_C_READ_MMAP, nullptr);
  if (elf == nullptr || elf_kind(elf) != ELF_K_ELF || !has_few_sections(elf)) {
    const bool is_elf = elf != nullptr && elf_kind(elf) == ELF_K_ELF;
    elf_end(elf);
    ::close(fd);
    return std::string(is_elf ? "has too many sections" : "not an ELF file");
  }
  return std::unique_ptr<ElfFile>(new ElfFile(path, fd, elf, Image(0)));
}

std::unique_ptr<ElfFile> ElfFile::from_memory(Image image, std::string path) {
  elf_version(EV_CURRENT);
  Elf* elf = elf_memory(image.bytes(), image.size());
  if (elf == nullptr || elf_kind(elf) != ELF_K_ELF || !has_few_sections(elf)) {
    elf_end(elf);
    return nullptr;
  }
  return std::unique_ptr<ElfFile>(new ElfFile(std::move(path), -1, elf, std::move(image)));
}

std::unique_ptr<ElfFile> ElfFile::another_handle() const {
  if (fd_ < 0) return from_memory(image_, path_);
  // Not by its name, which may belong to another file by now.
  auto opened = open("/proc/self/fd/" + std::to_string(fd_));
  if (!opened) return nullptr;
  auto file = std::move(opened).value();
  file->path_ = path_;
  return file;
}

ElfFile::ElfFile(std::string path, int fd, Elf* elf, Image image)
    : path_(std::move(path)), build_id_(read_build_id(elf)), image_(std::move(image)), fd_(fd), elf_(elf) {}

ElfFile::~ElfFile() {
  elf_end(elf_);
  if (fd_ >= 0) ::close(fd_);
}

std::string ElfFile::directory() const {
  if (fd_ < 0) return {};
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd_), error).parent_path().string();
}

std::optional<std::uint64_t> ElfFile::vaddr_of(std::uint64_t file_offset) const {
  std::optional<std::uint64_t> code;
  std::optional<std::uint64_t> data;
  for_each_load_segment(elf_, [&](const GElf_Phdr& segment) {
    if (file_offset < segment.p_offset || file_offset - segment.p_offset >= segment.p_filesz) return;
    auto& found = (segment.p_flags & PF_X) != 0 ? code : data;
    if (!found) found = segment.p_vaddr + (file_offset - segment.p_offset);
  });
  return code ? code : data;
}

std::optional<std::uint64_t> ElfFile::code_vaddr() const {
  std::optional<std::uint64_t> found;
  std::size_t count = 0;
  for_each_load_segment(elf_, [&](const GElf_Phdr& segment) {
    if ((segment.p_flags & PF_X) == 0) return;
    found = segment.p_vaddr;
    ++count;
  });
  return count == 1 ? found : std::nullopt;
}

Elf_Data* ElfFile::section(std::string_view name) const {
  Elf_Data* data = nullptr;
  for_each_section(elf_, [&](Elf_Scn* scn, const GElf_Shdr&, std::string_view section_name) {
    if (section_name != name) return false;
    data = elf_rawdata(scn, nullptr);
    return true;
  });
  return data != nullptr && data->d_buf != nullptr && data->d_size > 0 ? data : nullptr;
}

std::uint64_t ElfFile::section_bytes(std::string_view name) const {
  const Elf_Data* data = section(name);
  return data != nullptr ? data->d_size : 0;
}

bool ElfFile::has_debug_info() const {
  bool found = false;
  for_each_section(elf_, [&](Elf_Scn*, const GElf_Shdr&, std::string_view name) {
    found = name == ".debug_info" || name == ".zdebug_info";
    return found;
  });
  return found;
}

bool ElfFile::has_symtab() const {
  bool found = false;
  for_each_section(elf_, [&](Elf_Scn*, const GElf_Shdr& header, std::string_view) {
    found = header.sh_type == SHT_SYMTAB;
    return found;
  });
  return found;
}

std::optional<ElfFile::DebugLink> ElfFile::debug_link() const {
  GElf_Word crc = 0;
  const char* name = dwelf_elf_gnu_debuglink(elf_, &crc);
  if (name == nullptr || *name == '\0') return std::nullopt;
  return DebugLink{name, crc};
}

std::optional<ElfFile::AlternateLink> ElfFile::alternate_link() const {
  const Elf_Data* data = section(".gnu_debugaltlink");
  if (data == nullptr) return std::nullopt;
  const std::string_view bytes(static_cast<const char*>(data->d_buf), data->d_size);
  const std::size_t end = bytes.find('\0');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view id = bytes.substr(end + 1);
  return AlternateLink{std::string(bytes.substr(0, end)),
                       hex(reinterpret_cast<const unsigned char*>(id.data()), id.size())};
}

}  // namespace memtrace
