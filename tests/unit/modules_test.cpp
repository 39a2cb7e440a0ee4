// Would break: every symbol. A segment that is missing or has the wrong offset or build-id turns addresses
// into other functions' names.
#include "preload/modules.hpp"

#include <dlfcn.h>
#include <link.h>
#include <sys/resource.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "tests/support/catch.hpp"
#include "tests/support/stages.hpp"
#include "tests/support/temp_dir.hpp"

using namespace memtrace;

namespace {

struct List {
  explicit List(std::uint64_t cap = 64 << 20) {
    arena.start(cap);
    modules.start(arena);
    notes->start(arena);
  }
  void refresh(std::uint32_t stacks = 0) {
    const std::string exe = std::filesystem::read_symlink("/proc/self/exe");
    gone = modules.refresh(exe, *notes, stacks, scratch.get());
  }
  bool gone = false;
  PageArena arena;
  Modules modules;
  std::unique_ptr<ModuleNotes> notes = std::make_unique<ModuleNotes>();
  std::unique_ptr<char[]> scratch = std::make_unique<char[]>(Modules::kScratchBytes);
};

// The executable segments of /proc/self/maps, read again by other means.
struct Segment {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t offset;
  std::string path;
};
std::vector<Segment> segments() {
  std::vector<Segment> all;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::istringstream fields(line);
    Segment segment{};
    char dash;
    std::string permissions;
    std::string device;
    std::string inode;
    fields >> std::hex >> segment.start >> dash >> segment.end >> permissions >> segment.offset >> device >>
        inode;
    std::getline(fields >> std::ws, segment.path);
    if (permissions.at(2) == 'x' && (segment.path.starts_with("/") || segment.path == "[vdso]")) {
      all.push_back(segment);
    }
  }
  return all;
}

// The loader's own idea of an object's build-id.
BuildId loaded_build_id(std::uint64_t address) {
  struct Search {
    std::uint64_t address;
    BuildId found;
  } search{address, {}};
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        auto& wanted = *static_cast<Search*>(data);
        bool holds = false;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& segment = info->dlpi_phdr[i];
          const std::uint64_t begin = info->dlpi_addr + segment.p_vaddr;
          holds |= segment.p_type == PT_LOAD && wanted.address >= begin &&
                   wanted.address < begin + segment.p_memsz;
        }
        if (!holds) return 0;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& segment = info->dlpi_phdr[i];
          if (segment.p_type != PT_NOTE) continue;
          const char* at = reinterpret_cast<const char*>(info->dlpi_addr + segment.p_vaddr);
          for (const char* end = at + segment.p_memsz; at < end;) {
            ElfW(Nhdr) note;
            std::memcpy(&note, at, sizeof note);
            const char* bytes = at + sizeof note + ((note.n_namesz + 3) & ~3U);
            if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4) {
              wanted.found.size = static_cast<std::uint8_t>(note.n_descsz);
              std::memcpy(wanted.found.bytes.data(), bytes, note.n_descsz);
            }
            at = bytes + ((note.n_descsz + 3) & ~3U);
          }
        }
        return 1;
      },
      &search);
  return search.found;
}

// Its own segment of code, found by an address in it.
[[gnu::noinline]] std::uint64_t here() {
  return reinterpret_cast<std::uint64_t>(__builtin_return_address(0));
}

}  // namespace

TEST_CASE("every executable segment is listed, with the loader's build-id") {
  List list;
  list.refresh();
  const std::vector<Segment> expected = segments();
  REQUIRE(list.modules.size() == expected.size());
  for (const Segment& segment : expected) {
    CAPTURE(segment.path);
    const std::uint32_t i = list.modules.find(segment.start, StackId{1});
    REQUIRE(i < list.modules.size());
    const LoadedModule& module = list.modules[i];
    CHECK(module.start == segment.start);
    CHECK(module.end == segment.end);
    CHECK(module.file_offset == segment.offset);
    CHECK(list.modules.path(module) == segment.path);
    CHECK(module.loaded);
    CHECK(module.build_id == loaded_build_id(segment.start));
  }
  const std::uint32_t exe = list.modules.executable();
  CHECK(list.modules.path(list.modules[exe]) == std::filesystem::read_symlink("/proc/self/exe").native());
  CHECK(list.modules.find(here(), StackId{1}) == exe);
}

TEST_CASE("the ends of a segment: its last byte belongs to it, the next one does not") {
  List list;
  list.refresh();
  const LoadedModule& exe = list.modules[list.modules.executable()];
  CHECK(list.modules.find(exe.start, StackId{1}) == list.modules.executable());
  CHECK(list.modules.find(exe.end - 1, StackId{1}) == list.modules.executable());
  CHECK(list.modules.find(exe.end, StackId{1}) != list.modules.executable());
  CHECK(list.modules.find(exe.start - 1, StackId{1}) != list.modules.executable());
  for (const std::uint64_t address : {std::uint64_t{0}, std::uint64_t{1}, UINT64_MAX}) {
    CHECK(list.modules.find(address, StackId{1}) == list.modules.size());
  }
}

TEST_CASE("reading the list again changes nothing while nothing changed") {
  List list;
  list.refresh();
  const std::uint32_t size = list.modules.size();
  const std::uint64_t memory = list.arena.used_bytes();
  for (int i = 0; i < 10; ++i) list.refresh();
  CHECK(list.modules.size() == size);
  CHECK(list.arena.used_bytes() == memory);
}

TEST_CASE("an object that was closed stays in the list for the stacks that name it") {
  List list;
  list.refresh();
  const std::uint32_t before = list.modules.size();
  void* library = dlopen("libanl.so.1", RTLD_NOW);
  if (!library) return;
  link_map* map = nullptr;
  REQUIRE(dlinfo(library, RTLD_DI_LINKMAP, &map) == 0);
  const std::string path = std::filesystem::canonical(map->l_name);
  list.refresh();
  std::uint32_t at = before;
  while (at < list.modules.size() && list.modules.path(list.modules[at]) != path) ++at;
  REQUIRE(at < list.modules.size());
  const std::uint64_t start = list.modules[at].start;
  CHECK(list.modules[at].loaded);
  CHECK(!list.gone);
  REQUIRE(dlclose(library) == 0);
  const bool gone = dlopen("libanl.so.1", RTLD_NOW | RTLD_NOLOAD) == nullptr;
  list.refresh();
  CHECK(list.modules[at].loaded != gone);
  CHECK(list.gone == gone);
  list.refresh();
  CHECK(!list.gone);
  CHECK(list.modules.find(start, StackId{1}) == at);
}

TEST_CASE("memory that is no ELF object has no build-id") {
  alignas(4096) static char page[8192];
  const auto at = reinterpret_cast<std::uint64_t>(page);
  const auto build_id = [](std::uint64_t header) {
    const BuildId uncertain = read_build_id({header});
    CHECK(read_build_id({header, Presence::kLoaded, header + sizeof page}) == uncertain);
    return uncertain;
  };
  CHECK(read_build_id({8}).size == 0);
  CHECK(read_build_id({UINT64_MAX - 4096}).size == 0);
  CHECK(build_id(at).size == 0);
  // A header that promises more than there is.
  auto* header = reinterpret_cast<ElfW(Ehdr)*>(page);
  std::memcpy(header->e_ident, ELFMAG, SELFMAG);
  header->e_ident[EI_CLASS] = ELFCLASS64;
  header->e_phentsize = sizeof(ElfW(Phdr));
  header->e_phnum = 60;
  header->e_phoff = std::uint64_t{1} << 62;
  CHECK(build_id(at).size == 0);
  header->e_phnum = UINT16_MAX;
  header->e_phoff = sizeof *header;
  CHECK(build_id(at).size == 0);
  // Notes whose sizes lie.
  header->e_phnum = 2;
  auto* segments = reinterpret_cast<ElfW(Phdr)*>(page + sizeof *header);
  segments[0].p_type = PT_LOAD;
  segments[1].p_type = PT_NOTE;
  segments[1].p_vaddr = 1024;
  segments[1].p_memsz = 4096;
  auto* note = reinterpret_cast<ElfW(Nhdr)*>(page + 1024);
  note->n_type = NT_GNU_BUILD_ID;
  std::memcpy(note + 1, "GNU", 4);
  for (const auto& [name, description] :
       {std::pair{4U, UINT32_MAX}, {UINT32_MAX, 20U}, {4U, 33U}, {4U, 4096U}}) {
    note->n_namesz = name;
    note->n_descsz = description;
    CHECK(build_id(at).size == 0);
  }
  note->n_namesz = 4;
  note->n_descsz = 20;
  std::memset(note + 2, 0xab, 20);
  const BuildId id = build_id(at);
  CHECK(id.size == 20);
  CHECK(id.bytes[0] == page[1024 + sizeof *note + 4] + 0);
}

TEST_CASE("an object whose headers lie outside of what is mapped is noted all the same") {
  const test::TempDir directory;
  const std::string path = directory.path() / "libmoved_headers.so";
  std::ofstream(directory.path() / "empty.c") << "int moved_headers_function(void) { return 1; }\n";
  const std::string compile = std::string(MEMTRACE_CXX) + " -x c -shared -fPIC -nostdlib -o " + path + " " +
                              (directory.path() / "empty.c").native();
  REQUIRE(std::system(compile.c_str()) == 0);
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    ElfW(Ehdr) header;
    file.read(reinterpret_cast<char*>(&header), sizeof header);
    std::vector<char> segments(header.e_phnum * sizeof(ElfW(Phdr)));
    file.seekg(static_cast<std::streamoff>(header.e_phoff));
    file.read(segments.data(), static_cast<std::streamsize>(segments.size()));
    constexpr std::uint64_t kFar = 1 << 20;  // past the last page that is mapped
    header.e_phoff = kFar;
    file.seekp(0);
    file.write(reinterpret_cast<const char*>(&header), sizeof header);
    file.seekp(kFar);
    file.write(segments.data(), static_cast<std::streamsize>(segments.size()));
    REQUIRE(file.good());
  }
  void* library = dlopen(path.c_str(), RTLD_NOW);
  REQUIRE(library != nullptr);
  const auto inside = reinterpret_cast<std::uint64_t>(dlsym(library, "moved_headers_function"));
  List list;
  const ReturnAddress frame{inside + 1};
  list.notes->note({&frame, 1}, StackId{1});
  list.notes->note({&frame, 1}, StackId{2});  // known by now
  REQUIRE(list.notes->size() == 1);
  const ModuleNote* note = (*list.notes)[0];
  REQUIRE(note != nullptr);
  CHECK(std::string(note->path) == path);
  CHECK(note->build_id.size == 0);
  CHECK(note->code_start == note->code_end);
  dlclose(library);
  list.refresh();  // nothing to list of it
}

TEST_CASE(
    "where /proc lists nothing, as in many a chroot, the executable is known by the stacks that name it") {
  List list;
  const ReturnAddress frame{here()};
  list.notes->note({&frame, 1}, StackId{1});
  rlimit files{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &files) == 0);
  const rlimit none{0, files.rlim_max};
  REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
  list.refresh(1);
  REQUIRE(setrlimit(RLIMIT_NOFILE, &files) == 0);
  REQUIRE(list.modules.size() == 1);
  CHECK(list.modules.path(list.modules[0]) == std::filesystem::read_symlink("/proc/self/exe").native());
  CHECK(list.modules.find(here(), StackId{1}) == 0);
  CHECK(list.modules[0].build_id.size > 0);
}

TEST_CASE("without memory nothing is listed, and what was lost is counted") {
  List list(0);
  const std::uint64_t before = g_counters.lost_modules;
  list.refresh();
  CHECK(list.modules.size() == 0);
  CHECK(g_counters.lost_modules - before >= segments().size());
  CHECK(list.modules.find(here(), StackId{1}) == 0);
}
