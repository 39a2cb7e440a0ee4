// Field numbers of snapshot.proto, for the writer and the reader. A test compares them with the .proto file.
#pragma once

#include <cstdint>

namespace memtrace::fields {

enum Snapshot : std::uint32_t {
  kSampleType = 1,
  kSample = 2,
  kMapping = 3,
  kLocation = 4,
  kStringTable = 6,
  kTimeNanos = 9,
  kDurationNanos = 10,
  kPeriodType = 11,
  kPeriod = 12,
  kComment = 13,
  kDefaultSampleType = 14,
  kFormatVersion = 1000,
  kProcess = 1001,
  kTrigger = 1002,
  kClocks = 1003,
  kSampling = 1004,
  kRecords = 1005,
  kThread = 1006,
  kStacks = 1007,
  kSelf = 1008,
};

namespace value_type {
enum : std::uint32_t { kType = 1, kUnit = 2 };
}
namespace sample {
enum : std::uint32_t { kLocationId = 1, kValue = 2 };
}
namespace mapping {
enum : std::uint32_t {
  kId = 1,
  kMemoryStart = 2,
  kMemoryLimit = 3,
  kFileOffset = 4,
  kFilename = 5,
  kBuildId = 6
};
}
namespace location {
enum : std::uint32_t { kId = 1, kMappingId = 2, kAddress = 3 };
}
namespace process {
enum : std::uint32_t {
  kSessionId = 1,
  kPid = 2,
  kPpid = 3,
  kBootId = 4,
  kStartRealtimeNanos = 5,
  kExe = 6,
  kHost = 7,
  kTag = 8,
  kRssBytes = 9,
  kStartMonotonicNanos = 10
};
}
namespace trigger {
enum : std::uint32_t { kReason = 1, kLabel = 2, kSequence = 3 };
}
namespace clocks {
enum : std::uint32_t { kRealtimeNanos = 1, kMonotonicNanos = 2, kBoottimeNanos = 3 };
}
namespace sampling {
enum : std::uint32_t { kMode = 1, kIntervalBytes = 2, kFixedSeed = 3, kMaxFrames = 4, kUnwinder = 5 };
}
namespace record_batch {
enum : std::uint32_t {
  kSampleNumber = 1,
  kStack = 2,
  kAddress = 3,
  kSize = 4,
  kBirthNanos = 5,
  kThread = 6,
  kKind = 7
};
}
namespace thread {
enum : std::uint32_t { kSerial = 1, kTid = 2, kName = 3 };
}
namespace stack_batch {
enum : std::uint32_t { kFreedObjects = 1, kFreedBytes = 2, kTruncated = 3 };
}
namespace counter {
enum : std::uint32_t { kName = 1, kValue = 2 };
}

}  // namespace memtrace::fields
