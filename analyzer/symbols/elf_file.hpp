// One open ELF file, read-only: identity, address mapping, sections.
//
// Owns the descriptor and the libelf handle; everything obtained from elf() dies with it.
// Thread-safety: one thread at a time. Content is untrusted: malformed parts read as absent.
#pragma once

#include <libelf.h>

#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>

#include "format/result.hpp"

namespace memtrace {

class ElfFile {
 public:
  // Error: why it cannot be read, as words to put after the path ("No such file or directory").
  [[nodiscard]] static Result<std::unique_ptr<ElfFile>, std::string> open(const std::string& path);
  // The bytes of a file that is only in memory. Not zeroed: they may be many. Empty when there is no room.
  class Image {
   public:
    explicit Image(std::size_t size)
        : bytes_(new (std::nothrow) char[size]), size_(bytes_ != nullptr ? size : 0) {}
    [[nodiscard]] char* bytes() const { return bytes_.get(); }
    [[nodiscard]] std::size_t size() const { return size_; }

   private:
    std::shared_ptr<char[]> bytes_;
    std::size_t size_;
  };
  // Null when `image` is not an ELF file.
  [[nodiscard]] static std::unique_ptr<ElfFile> from_memory(Image image, std::string path);

  // The same content for another thread: libelf's handles are for one each. Null when it cannot be had.
  [[nodiscard]] std::unique_ptr<ElfFile> another_handle() const;

  ~ElfFile();
  ElfFile(const ElfFile&) = delete;
  ElfFile& operator=(const ElfFile&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  // Where the file lies, whatever links led to it; empty when it is only in memory.
  [[nodiscard]] std::string directory() const;
  [[nodiscard]] const std::string& build_id() const { return build_id_; }  // lower-case hex; empty: none
  [[nodiscard]] Elf* elf() const { return elf_; }

  // Where the loadable byte at `file_offset` lives in the file's own address space.
  [[nodiscard]] std::optional<std::uint64_t> vaddr_of(std::uint64_t file_offset) const;
  // Virtual address of the executable segment when there is exactly one.
  [[nodiscard]] std::optional<std::uint64_t> code_vaddr() const;

  // Bytes of a section that has content in the file; nullptr without it. Not decompressed.
  [[nodiscard]] Elf_Data* section(std::string_view name) const;
  // Their size, as stored; 0 without it.
  [[nodiscard]] std::uint64_t section_bytes(std::string_view name) const;
  [[nodiscard]] bool has_debug_info() const;
  [[nodiscard]] bool has_symtab() const;

  struct DebugLink {
    std::string name;
    std::uint32_t crc = 0;
  };
  [[nodiscard]] std::optional<DebugLink> debug_link() const;

  struct AlternateLink {
    std::string name;
    std::string build_id;
  };
  [[nodiscard]] std::optional<AlternateLink> alternate_link() const;

 private:
  ElfFile(std::string path, int fd, Elf* elf, Image image);

  std::string path_;
  std::string build_id_;
  Image image_;  // backs elf_ when there is no file
  int fd_ = -1;
  Elf* elf_ = nullptr;
};

}  // namespace memtrace
