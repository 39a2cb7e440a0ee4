#!/usr/bin/env python3
"""Instructions of libmemtrace.so in one call that is not sampled, held against the golden numbers beside this file.

usage: instruction_counts.py --compiler "ID VERSION BUILD_TYPE" [--write] BUILD_DIR

What would break: a hook's fast path would grow without anybody noticing, as timings say nothing. Counted by callgrind,
in the shim's own object only: the allocator and the loader below it differ between machines. A compiler other than
the one in the golden file makes other code; then nothing is compared, and the status is 77. Exit status: 0 equal,
1 different in either direction, 2 usage, 77 not run. --write makes what is counted the golden numbers.
"""
import argparse
import collections
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE / "instruction_counts.golden"
PATHS = ("malloc", "realloc", "free", "calloc")
CALLS = 1000
SHIM = "libmemtrace.so"
NOT_RUN = 77


def self_costs(profile):
    """Instructions of each object, callees not included, in a profile written with --compress-strings=no."""
    costs = collections.Counter()
    object_name = ""
    callee_follows = False
    for line in profile.splitlines():
        if line.startswith("ob="):
            object_name = line[3:]
        elif line.startswith("calls="):
            callee_follows = True  # the next line is what the callee cost
        elif re.match(r"[0-9+*-]", line):
            if not callee_follows:
                costs[os.path.basename(object_name)] += int(line.split()[1])
            callee_follows = False
    return costs


def callgrind(program, arguments, environment, options=()):
    """The profile of one run, as text."""
    with tempfile.TemporaryDirectory(prefix="memtrace-callgrind-") as directory:
        out = pathlib.Path(directory) / "out"
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--compress-strings=no",
                   "--compress-pos=no", "--vgdb=no", *options, str(program), *map(str, arguments)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        if run.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit status {run.returncode}\n{run.stderr}")
        return out.read_text()


def shim_environment(build, **settings):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MEMTRACE") and k != "LD_PRELOAD"}
    return {**clean, "LD_PRELOAD": str(build / "preload" / SHIM), "MEMTRACE": "force", **settings}


def counts_per_call(build):
    """{path: instructions of one call}, exact; an interval of a TiB leaves no call sampled."""
    environment = shim_environment(build, MEMTRACE_SAMPLE="1024GiB", MEMTRACE_LOG="error")
    counts = {}
    for name in PATHS:
        profile = callgrind(build / "tests/bench/hook_paths", [CALLS], environment, [f"--toggle-collect=count_{name}"])
        total = self_costs(profile)[SHIM]
        if total == 0 or total % CALLS:
            raise RuntimeError(f"{name}: {total} instructions of {SHIM} in {CALLS} calls: not one path for all of them")
        counts[name] = total // CALLS
    return counts


def read_golden():
    """The compiler that the numbers belong to, and the numbers."""
    lines = [line for line in GOLDEN.read_text().splitlines() if line and not line.startswith("#")]
    return lines[0], {name: int(count) for name, count in (line.split() for line in lines[1:])}


def write_golden(compiler, counts):
    lines = ["# Instructions of libmemtrace.so in one call that is not sampled, for this compiler and build type.",
             "# instruction_counts.py compares them; with --write it writes them. A change in either direction is one",
             "# to explain in the commit that makes it.", compiler, *(f"{name} {counts[name]}" for name in PATHS)]
    GOLDEN.write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("build", type=pathlib.Path)
    options = parser.parse_args()
    if not shutil.which("valgrind"):
        print("not run: valgrind is not installed (scripts/install-dependencies installs it)")
        return NOT_RUN
    if options.write:
        write_golden(options.compiler, counts_per_call(options.build.resolve()))
        return 0
    compiler, golden = read_golden()
    if compiler != options.compiler:
        print(f"not run: the golden numbers are those of {compiler}; this is a build of {options.compiler}")
        return NOT_RUN
    counts = counts_per_call(options.build.resolve())
    for name in PATHS:
        print(f"{name:8} {counts[name]:4} instructions, golden {golden[name]:4}, {counts[name] - golden[name]:+d}")
    if counts == golden:
        return 0
    print(f"different: explain it, and write the new numbers with\n  {sys.argv[0]} --write "
          f"--compiler '{options.compiler}' {options.build}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
