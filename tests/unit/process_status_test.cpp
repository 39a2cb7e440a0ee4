// What would break: a process without a handler would be signalled, and killed by the signal's default
// action; the wrong file would be taken for the snapshot that was asked for.
#include "analyzer/process_status.hpp"

#include <signal.h>

#include "tests/support/catch.hpp"

namespace memtrace {
namespace {

constexpr const char* kStatus =
    "Name:\tserver (worker)\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t4242\nPid:\t4242\nPPid:\t1\n"
    "Uid:\t1000\t1001\t1000\t1000\nGid:\t100\t101\t100\t100\nNSpid:\t4242\t17\t1\nVmRSS:\t   100 kB\n"
    "SigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000000002\nSigIgn:"
    "\t0000000000001000\n"
    "SigCgt:\t0000000000000800\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n";

TEST_CASE("the status of a process in a pid namespace is read") {
  const auto status = parse_process_status(kStatus);
  REQUIRE(status);
  CHECK(status->state == 'S');
  CHECK(status->effective_uid == 1001);
  CHECK(status->effective_gid == 101);
  CHECK(status->own_pid == 1);
  CHECK(status->parent == 1);
  CHECK(status->seccomp_filters == 3);
  CHECK(contains_signal(status->caught, SIGUSR2));
  CHECK_FALSE(contains_signal(status->blocked, SIGUSR2));
  CHECK(contains_signal(status->blocked, SIGINT));
  CHECK(contains_signal(status->ignored, SIGPIPE));
}

TEST_CASE("a status that lacks a line is no status") {
  const std::string whole = kStatus;
  for (const char* key : {"State:", "Pid:\t4242\nPPid", "Uid:", "Gid:", "SigBlk:", "SigIgn:", "SigCgt:"}) {
    std::string damaged = whole;
    damaged[damaged.find(key)] = 'x';
    CAPTURE(key);
    CHECK_FALSE(parse_process_status(damaged));
  }
  CHECK_FALSE(parse_process_status(""));
}

TEST_CASE("a process's own pid is its only one without nested namespaces") {
  std::string text = kStatus;
  text.replace(text.find("NSpid:\t4242\t17\t1"), 16, "NSpid:\t4242");
  CHECK(parse_process_status(text)->own_pid == 4242);
}

TEST_CASE("signals outside 1 to 64 are in no mask") {
  CHECK_FALSE(contains_signal(~0ULL, 0));
  CHECK_FALSE(contains_signal(~0ULL, 65));
  CHECK(contains_signal(1ULL << 63, 64));
}

TEST_CASE("environment values are found by whole names") {
  using namespace std::string_view_literals;
  constexpr auto kEnvironment = "XMEMTRACE_DIR=/no\0MEMTRACE_DIRECTORY=/no\0MEMTRACE_DIR=/a=b\0MEMTRACE=\0"sv;
  CHECK(environment_value(kEnvironment, "MEMTRACE_DIR") == "/a=b");
  CHECK(environment_value(kEnvironment, "MEMTRACE") == "");
  CHECK_FALSE(environment_value(kEnvironment, "DIR"));
  CHECK_FALSE(environment_value("", "DIR"));
  CHECK(environment_value("A=1"sv, "A") == "1");  // damaged: the last zero byte is missing
}

TEST_CASE("an environment that was written over is recognized") {
  using namespace std::string_view_literals;
  CHECK(is_environment("A=1\0LD_PRELOAD=/lib/libmemtrace.so:x.so\0B=\0"sv));
  CHECK_FALSE(is_environment(""));
  CHECK_FALSE(is_environment("A=1\0B=2\0"sv));
  CHECK_FALSE(is_environment("edis-server *:6379\0\0\0LD_PRELOAD=/lib/libmemtrace.so\0"sv));
}

TEST_CASE("the shim is recognised among the mappings by its file name") {
  constexpr const char* kMaps =
      "7f0000000000-7f0000001000 r--p 00000000 fe:00 1 /opt/not-libmemtrace.so\n"
      "7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n"
      "7f0000001000-7f0000002000 r-xp 00001000 fe:00 2 /opt/a b/libmemtrace.so (deleted)\n";
  CHECK(mapped_file(kMaps, "libmemtrace.so") == "/opt/a b/libmemtrace.so");
  CHECK_FALSE(mapped_file(kMaps, "libmem.so"));
  CHECK_FALSE(mapped_file("", "libmemtrace.so"));
}

TEST_CASE("the trigger signal is named as the shim's setting names it") {
  CHECK(parse_trigger_signal("SIGUSR1") == SIGUSR1);
  CHECK(parse_trigger_signal("SIGUSR2") == SIGUSR2);
  CHECK(parse_trigger_signal("USR2") == SIGUSR2);
  CHECK(parse_trigger_signal("none") == 0);
  CHECK(parse_trigger_signal("SIGRTMIN") == SIGRTMIN);
  CHECK(parse_trigger_signal("SIGRTMIN+3") == SIGRTMIN + 3);
  for (const char* wrong :
       {"", "usr2", "SIGRTMIN-1", "SIGRTMIN+", "SIGRTMIN+99", "SIGRTMIN++1", "SIGKILL", "12"}) {
    CAPTURE(wrong);
    CHECK_FALSE(parse_trigger_signal(wrong));
  }
}

TEST_CASE("a snapshot is recognised by the fields of its name") {
  CHECK(is_snapshot_of("redis-server.4242.9f31c07a.0002.snap", 4242, ""));
  CHECK(is_snapshot_of("redis-server.4242.9f31c07a.0002.before.snap", 4242, ""));
  CHECK(is_snapshot_of("redis-server.4242.9f31c07a.0002.before.snap", 4242, "before"));
  CHECK(is_snapshot_of("a.4242.b.4242.9f31c07a.10000.v1.2.snap", 4242, "v1.2"));
  CHECK_FALSE(is_snapshot_of("redis-server.4242.9f31c07a.0002.snap", 4242, "before"));
  CHECK_FALSE(is_snapshot_of("redis-server.4242.9f31c07a.0002.beforehand.snap", 4242, "before"));
  CHECK_FALSE(is_snapshot_of(".redis-server.4242.9f31c07a.0002.snap", 4242, ""));
  CHECK_FALSE(is_snapshot_of("redis-server.424.9f31c07a.0002.snap", 4242, ""));
  CHECK_FALSE(is_snapshot_of("redis-server.4242.9f31c07.0002.snap", 4242, ""));
  CHECK_FALSE(is_snapshot_of("redis-server.4242.9f31c07a..snap", 4242, ""));
  CHECK_FALSE(is_snapshot_of("redis-server.4242.9f31c07a.0002.snap.tmp", 4242, ""));
  CHECK_FALSE(is_snapshot_of(".snap", 4242, ""));
}

TEST_CASE("a label is what may stand in a file name") {
  CHECK(is_valid_label("before_v1.2-rc"));
  CHECK(is_valid_label(std::string(64, 'a')));
  CHECK_FALSE(is_valid_label(std::string(65, 'a')));
  CHECK_FALSE(is_valid_label(""));
  CHECK_FALSE(is_valid_label("a/b"));
  CHECK_FALSE(is_valid_label("a b"));
}

}  // namespace
}  // namespace memtrace
