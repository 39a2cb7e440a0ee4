#include "analyzer/crash.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/stacktrace/frame.hpp>
#include <boost/stacktrace/safe_dump_to.hpp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>

#include "analyzer/exit_codes.hpp"

namespace memtrace {
namespace {

constexpr std::size_t kFrames = 48;
const char* command_name = "memtrace";
volatile std::sig_atomic_t crashing = 0;
alignas(16) std::array<char, 64 * 1024> signal_stack;

void put(const char* text) {
  const auto ignored = write(STDERR_FILENO, text, std::strlen(text));
  static_cast<void>(ignored);
}

void put_stack() {
  std::array<boost::stacktrace::frame::native_frame_ptr_t, kFrames> frames{};
  const std::size_t words = boost::stacktrace::safe_dump_to(1, frames.data(), sizeof(frames));
  std::array<char, 400> line{};
  for (std::size_t i = 0; i < std::min(words, frames.size()) && frames[i] != nullptr; ++i) {
    Dl_info info{};
    const bool known = dladdr(frames[i], &info) != 0 && info.dli_fname != nullptr;
    const auto address = reinterpret_cast<std::uintptr_t>(frames[i]);
    const auto base = known ? reinterpret_cast<std::uintptr_t>(info.dli_fbase) : 0;
    std::snprintf(line.data(), line.size(), "  #%zu %s+0x%zx %s\n", i, known ? info.dli_fname : "?",
                  address - base, known && info.dli_sname != nullptr ? info.dli_sname : "");
    put(line.data());
  }
}

[[noreturn]] void report_and_exit(const char* what) {
  if (crashing == 0) {
    crashing = 1;
    put(command_name);
    put(": internal error: ");
    put(what);
    put("\nThis is a fault of ours, not of the input; please report it with these lines (addr2line reads "
        "them):\n");
    put_stack();
  }
  _exit(exit_code::kOwnFault);
}

void on_signal(int signal) {
  switch (signal) {
    case SIGSEGV:
      report_and_exit("segmentation fault");
    case SIGBUS:
      report_and_exit("bus error");
    case SIGFPE:
      report_and_exit("arithmetic error");
    case SIGILL:
      report_and_exit("illegal instruction");
    default:
      report_and_exit("aborted");
  }
}

[[noreturn]] void on_terminate() {
  if (const auto current = std::current_exception()) {
    try {
      std::rethrow_exception(current);
    } catch (const std::exception& error) {
      report_and_exit(error.what());
    } catch (...) {
      report_and_exit("unknown exception");
    }
  }
  report_and_exit("terminated");
}

}  // namespace

void install_crash_handler(const char* command) {
  command_name = command;
  std::set_terminate(on_terminate);
  stack_t stack{};
  stack.ss_sp = signal_stack.data();
  stack.ss_size = signal_stack.size();
  sigaltstack(&stack, nullptr);  // a stack overflow is reported too
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigaction(signal, &action, nullptr);
}

}  // namespace memtrace
