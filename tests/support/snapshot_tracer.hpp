// Watches the snapshot thread of a victim at every system call that it makes, and lets a test interfere: by
// ptrace, so that the library under test is the one that is shipped.
//
//   SnapshotTracer tracer(victim.pid());
//   tracer.take([](SystemCall& call) { if (call.index == 7) call.error = ENOSPC; });
//
// One thread of the test does all of it (ptrace's rule). A wait without end ends the test by SIGALRM.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace memtrace::test {

// A call that is about to be made, and what becomes of it.
struct SystemCall {
  std::size_t index = 0;  // in its snapshot
  long number = 0;
  std::array<std::uint64_t, 6> arguments{};
  pid_t process = -1;
  [[nodiscard]] std::string text(std::size_t argument) const;  // that it points to: a path

  int error = 0;                      // not made: this errno value is its answer
  std::optional<std::uint64_t> size;  // instead of the third argument
  bool kill = false;                  // the process ends here
  bool last = false;                  // the rest of the snapshot need not be watched
};

class SnapshotTracer {
 public:
  using Meddle = std::function<void(SystemCall&)>;

  explicit SnapshotTracer(pid_t process);
  ~SnapshotTracer();
  SnapshotTracer(const SnapshotTracer&) = delete;
  SnapshotTracer& operator=(const SnapshotTracer&) = delete;

  // Sends SIGUSR2 to the main thread and follows the snapshot thread to its end. The calls that it made, by
  // number.
  std::vector<long> take(const Meddle& meddle = {});

 private:
  [[nodiscard]] pid_t wait_for_thread() const;

  pid_t process_;
  bool alive_ = true;
};

}  // namespace memtrace::test
