#!/usr/bin/env bash
# What would break: the shim would export a name that programs look for, need a library or a version that they do not
# have, take thread-local storage that is not there, or a vector register that is the program's.
# usage: shim_binary_test.sh BUILD_DIR
set -euo pipefail
exec "$(dirname "$0")/../../scripts/check-binary" "$1/preload/libmemtrace.so"
