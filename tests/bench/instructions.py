"""Instructions of a whole malloc and free, allocator included; what the shim alone takes is in instruction_counts.py."""
import re
import shutil

from instruction_counts import PATHS, callgrind, counts_per_call, shim_environment

ROUNDS = 500
PAIRS = ROUNDS * 64


def total(profile):
    return int(re.search(r"^(?:totals|summary): (\d+)", profile, re.M)[1])


def pair(context, environment):
    """Start-up drops out of the difference of two runs."""
    program = context.build / "tests/bench/malloc_pair"
    once, twice = (total(callgrind(program, [10, 1, rounds], environment)) for rounds in (ROUNDS, 2 * ROUNDS))
    return (twice - once) / (PAIRS + PAIRS / 20)  # and the rounds that warm up


def run(context):
    if not shutil.which("valgrind"):
        print("\ninstructions: not measured; package valgrind is not installed")
        return
    print("\ninstructions, counted by callgrind\n"
          f"  of the shim in one call that is not sampled: "
          + ", ".join(f"{name} {count}" for name, count in counts_per_call(context.build).items()))
    traced = shim_environment(context.build, MEMTRACE_DIR=str(context.work))
    bare = pair(context, context.tools["bare"].environment)
    print(f"  of a malloc and its free at depth 10, bare: {bare:.1f}", flush=True)
    for name, settings in (("not sampled", {"MEMTRACE_SAMPLE": "1024GiB"}), ("sampled", {}),
                           ("all", {"MEMTRACE_SAMPLE": "all"})):
        count = pair(context, {**traced, **settings})
        print(f"  the same, {name}: {count:.1f}, {count - bare:+.1f}", flush=True)
