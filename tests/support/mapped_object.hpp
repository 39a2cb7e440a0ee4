// An ELF file's segments in memory, laid out as the loader would, without loading it: for readers of its
// tables.
#pragma once

#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "preload/unwind/cfi.hpp"

namespace memtrace::test {

class MappedObject {
 public:
  explicit MappedObject(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    Elf64_Ehdr elf;
    if (bytes.size() < sizeof elf) throw std::runtime_error("cannot read " + path);
    __builtin_memcpy(&elf, bytes.data(), sizeof elf);
    std::vector<Elf64_Phdr> segments(elf.e_phnum);
    __builtin_memcpy(segments.data(), bytes.data() + elf.e_phoff, segments.size() * sizeof(Elf64_Phdr));
    std::uint64_t end = 0;
    for (const auto& segment : segments) {
      if (segment.p_type == PT_LOAD) end = std::max(end, segment.p_vaddr + segment.p_memsz);
    }
    size_ = end;
    memory_ = static_cast<char*>(
        mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (memory_ == MAP_FAILED) throw std::runtime_error("no memory for " + path);
    const auto base = reinterpret_cast<std::uintptr_t>(memory_);
    for (const auto& segment : segments) {
      if (segment.p_type == PT_LOAD) {
        __builtin_memcpy(memory_ + segment.p_vaddr, bytes.data() + segment.p_offset, segment.p_filesz);
      }
    }
    for (const auto& header : segments) {
      if (header.p_type != PT_GNU_EH_FRAME) continue;
      for (const auto& segment : segments) {
        if (segment.p_type == PT_LOAD && header.p_vaddr - segment.p_vaddr < segment.p_filesz) {
          tables_ = {base + segment.p_vaddr, base + segment.p_vaddr + segment.p_filesz,
                     base + header.p_vaddr};
        }
      }
    }
  }
  ~MappedObject() { munmap(memory_, size_); }
  MappedObject(const MappedObject&) = delete;
  MappedObject& operator=(const MappedObject&) = delete;

  [[nodiscard]] const CfiTables& tables() const { return tables_; }
  [[nodiscard]] std::uintptr_t at(std::uint64_t file_address) const {
    return reinterpret_cast<std::uintptr_t>(memory_) + file_address;
  }

 private:
  char* memory_ = nullptr;
  std::size_t size_ = 0;
  CfiTables tables_;
};

}  // namespace memtrace::test
