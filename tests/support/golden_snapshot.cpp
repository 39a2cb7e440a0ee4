#include "tests/support/golden_snapshot.hpp"

namespace memtrace::test {

Snapshot golden_snapshot() {
  Snapshot s;
  s.format_version = 1;
  s.session.bytes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xa, 0xb, 0xc, 0xd, 0xe, 0xff};
  s.pid = 4242;
  s.ppid = 17;
  s.boot_id = "8d6f1c6e-7f0e-4bb0-9f3e-0f6f0c1f7a11";
  s.exe = "/srv/payments";
  s.host = "pod-7";
  s.tags = {"pod=a", "version=1.2"};
  s.rss_bytes = 123'456'789;
  s.start_realtime_ns = 1'790'000'000'000'000'001;
  s.start_monotonic_ns = 5'000'000'002;
  s.reason = TriggerReason::kApi;
  s.label = "after warm-up";
  s.sequence = 3;
  s.realtime_ns = 1'790'000'060'000'000'004;
  s.monotonic_ns = 65'000'000'005;
  s.boottime_ns = 70'000'000'006;
  s.mode = SamplingMode::kPoissonBytes;
  s.interval_bytes = 524'288;
  s.fixed_seed = true;
  s.max_frames = 64;
  s.unwinder = "cfi";
  s.modules = {{0x400000, 0x480000, 0, "/srv/payments", "00112233445566778899aabbccddeeff00112233"},
               {0x7f0000001000, 0x7f0000200000, 0x1000, "/usr/lib/libc.so.6", ""},
               {0x7ffff000, 0x7ffff800, 0, "[vdso]", "ab"}};
  s.locations = {{LookupAddress{0x400123}, 0},
                 {LookupAddress{0x7f0000001234}, 1},
                 {LookupAddress{0xdeadbeef}, kNoModule},
                 {LookupAddress{0x400fff}, 0}};
  s.frames = {0, 3, 1, 2, 1, 0};
  s.stacks = {{0, 3, false, 10, 1000, 4, 400, 6, 600},
              {3, 2, true, 20, 2000, 5, 500, 15, 1500},
              {5, 1, false, 1, 1 << 20, 0, 0, 1, 1 << 20},
              {6, 0, false, 0, 0, 0, 0, 0, 0}};
  s.records = {{9, 0x1000, 100, 6'000'000'000, 0, 0, AllocKind::kHeap},
               {11, 0x1080, 4096, 5'500'000'000, 1, 2, AllocKind::kHeap},
               {1, 0x2000, 0, 64'999'000'000, 1, 70000, AllocKind::kHeap},
               {12, 0x555500000000, 1 << 20, 7'000'000'000, 2, 0, AllocKind::kMmap},
               {13, 0x7f0000000000, std::uint64_t{8} << 30, 7'100'000'000, 2, 0, AllocKind::kReserved},
               {14, 0x7ff000000000, 8192, 7'200'000'000, 2, 0, AllocKind::kFile},
               {15, 0x7ff100000000, 12288, 7'300'000'000, 2, 0, AllocKind::kShared}};
  s.threads = {{0, {4242, "payments"}}, {2, {4250, "worker"}}, {3, {0, ""}}};
  s.self = {{"lost", 7}, {"truncated_stacks", 1}, {"never", 0}};
  return s;
}

}  // namespace memtrace::test
