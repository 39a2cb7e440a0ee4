#include "analyzer/symbols/debuginfod_client.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace memtrace {
namespace {

// The library is opened at run time: it brings in an HTTP client that most runs never need.
struct Library {
  void* (*begin)() = nullptr;
  void (*end)(void*) = nullptr;
  int (*find_debuginfo)(void*, const unsigned char*, int, char**) = nullptr;

  static std::optional<Library> open() {
    void* handle = dlopen("libdebuginfod.so.1", RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) return std::nullopt;
    Library library;
    library.begin = reinterpret_cast<decltype(begin)>(dlsym(handle, "debuginfod_begin"));
    library.end = reinterpret_cast<decltype(end)>(dlsym(handle, "debuginfod_end"));
    library.find_debuginfo =
        reinterpret_cast<decltype(find_debuginfo)>(dlsym(handle, "debuginfod_find_debuginfo"));
    if (library.begin == nullptr || library.end == nullptr || library.find_debuginfo == nullptr)
      return std::nullopt;
    return library;
  }
};

class LibraryClient final : public DebuginfodClient {
 public:
  LibraryClient(Library library, void* client) : library_(library), client_(client) {}
  ~LibraryClient() override { library_.end(client_); }
  LibraryClient(const LibraryClient&) = delete;
  LibraryClient& operator=(const LibraryClient&) = delete;

  std::optional<std::string> find_debug_file(const std::string& build_id) override {
    if (!failure_.empty()) return std::nullopt;
    char* path = nullptr;
    // Length 0: the id is text, not bytes.
    const int fd =
        library_.find_debuginfo(client_, reinterpret_cast<const unsigned char*>(build_id.c_str()), 0, &path);
    std::optional<std::string> found;
    if (fd >= 0) {
      ::close(fd);
      if (path != nullptr) found = path;
    } else if (fd != -ENOENT) {
      failure_ = std::strerror(-fd);
    }
    std::free(path);
    return found;
  }

  [[nodiscard]] const std::string& failure() const override { return failure_; }

 private:
  Library library_;
  void* client_;
  std::string failure_;
};

}  // namespace

std::unique_ptr<DebuginfodClient> DebuginfodClient::create() {
  const char* urls = std::getenv("DEBUGINFOD_URLS");
  if (urls == nullptr || *urls == '\0') return nullptr;
  const auto library = Library::open();
  void* client = library ? library->begin() : nullptr;
  if (client == nullptr) return nullptr;
  return std::make_unique<LibraryClient>(*library, client);
}

}  // namespace memtrace
