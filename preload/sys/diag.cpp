#include "preload/sys/diag.hpp"

#include <errno.h>
#include <poll.h>

#include "preload/sys/syscalls.hpp"

#include "preload/no_heap.hpp"

namespace memtrace::diag {
namespace {

constinit LogLevel g_level = LogLevel::kWarn;
constinit bool g_started = false;
constinit std::uint64_t g_device = 0;
constinit std::uint64_t g_inode = 0;

bool identify_stderr(std::uint64_t& device, std::uint64_t& inode) {
  struct stat status {};
  if (sys::call(SYS_fstat, 2, &status) != 0) return false;
  device = status.st_dev;
  inode = status.st_ino;
  return true;
}

struct ErrorText {
  int error;
  const char* text;
};
constexpr ErrorText kErrorTexts[] = {
    {EACCES, "Permission denied"},
    {EAGAIN, "Resource temporarily unavailable"},
    {EDQUOT, "Disk quota exceeded"},
    {EEXIST, "File exists"},
    {EFBIG, "File too large"},
    {EINTR, "Interrupted system call"},
    {EIO, "Input/output error"},
    {EISDIR, "Is a directory"},
    {ELOOP, "Too many symbolic links"},
    {EMFILE, "Too many open files"},
    {ENAMETOOLONG, "File name too long"},
    {ENFILE, "Too many open files in system"},
    {ENOENT, "No such file or directory"},
    {ENOMEM, "Cannot allocate memory"},
    {ENOSPC, "No space left on device"},
    {ENOTDIR, "Not a directory"},
    {EPERM, "Operation not permitted"},
    {EROFS, "Read-only file system"},
};

// The host's threads neither wait for a reader of fd 2 nor die of its absence or of a limit on file sizes:
// nothing is written unless there is room, and the signals of a write that fails are taken back.
void write_politely(const char* text, std::size_t size) {
  pollfd room{2, POLLOUT, 0};
  if (sys::call(SYS_poll, &room, 1, 0) != 1 || !(room.revents & POLLOUT)) return;
  using Signals = std::uint64_t;  // as the kernel has it
  constexpr auto bit = [](int number) { return Signals{1} << (number - 1); };
  const Signals ours = bit(SIGPIPE) | bit(SIGXFSZ);
  Signals before = 0;
  Signals pending = 0;
  if (sys::call(SYS_rt_sigprocmask, SIG_BLOCK, &ours, &before, sizeof ours) != 0) return;
  sys::call(SYS_rt_sigpending, &pending, sizeof pending);
  const long result = sys::write(2, text, size);
  const Signals raised = result == -EPIPE ? bit(SIGPIPE) : result == -EFBIG ? bit(SIGXFSZ) : 0;
  const timespec now{};
  if (raised & ~pending) sys::call(SYS_rt_sigtimedwait, &raised, nullptr, &now, sizeof raised);
  sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, sizeof before);
}

}  // namespace

void start() { g_started = identify_stderr(g_device, g_inode); }

void set_level(LogLevel level) { g_level = level; }

void say(LogLevel level, const Line& line) {
  if (!g_started || level > g_level) return;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  if (!identify_stderr(device, inode) || device != g_device || inode != g_inode) return;
  FixedText<540> whole;
  whole << "memtrace: ";
  // Values of the environment are not trusted with the terminal, for which 0xc2 and one of 0x80 to 0x9f are a
  // control character, too.
  unsigned char before = 0;
  for (const char c : line.view()) {
    const auto byte = static_cast<unsigned char>(c);
    const bool control = byte < ' ' || byte == 127 || (before == 0xc2 && byte < 0xa0);
    whole << std::string_view(control ? "?" : &c, 1);
    before = byte;
  }
  whole << "\n";
  write_politely(whole.c_str(), whole.view().size());
}

Line& append_error(Line& line, int error) {
  for (const ErrorText& known : kErrorTexts) {
    if (known.error == error) {
      line << known.text;
      return line;
    }
  }
  line << "error " << static_cast<std::uint64_t>(error);
  return line;
}

}  // namespace memtrace::diag
