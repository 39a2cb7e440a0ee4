// Writes the totals into `directory`/<program>.<pid>.compared: fields by tabs, one total or difference a
// line.
#pragma once

namespace memtrace::compare {
void report(const char* directory);
}
