"""Snapshots of a million live records: time, size, what the program feels, and memdiff. Also start-up and memory."""
import os
import statistics
import time

from harness import compare, heading, interleaved, output, row, timed

MILLION = 1000000


def clear(context):
    for old in context.work.glob("*.snap"):
        old.unlink()


def snapshot_and_memdiff(context):
    times, sizes, diffs = [], [], []
    for _ in range(context.choose(3, 7)):
        clear(context)
        lines = output([context.build / "tests/bench/million_live", MILLION],
                       context.tools["memtrace all"].environment).splitlines()
        files = [line.rsplit(" ", 1)[0] for line in lines]
        times += [float(line.rsplit(" ", 1)[1]) for line in lines]
        sizes += [os.path.getsize(file) / 1e6 for file in files]
        begin = time.perf_counter()
        output([context.build / "analyzer/memdiff", "-q", *files], context.tools["bare"].environment)
        diffs.append((time.perf_counter() - begin) * 1e3)
    heading("snapshots of 1,000,000 live records", "", against=False)
    row("snapshot, ms", times)
    row("its size, MB", sizes)
    row("memdiff of two, ms", diffs)


def latency(context):
    """One row for each window and call: medians over runs, but the largest of the maxima."""
    found = {}
    for _ in range(context.choose(3, 7)):
        clear(context)
        for name in ("bare", "memtrace sampled", "memtrace all"):
            lines = output([context.build / "tests/bench/malloc_latency", MILLION, context.choose(200, 500)],
                           context.tools[name].environment)
            for window, call, *values in map(str.split, lines.splitlines()):
                found.setdefault((name, window, call), []).append([float(v) for v in values])
    print("\ncalls before, during and after a snapshot of 1,000,000 live blocks; ns, p: median over runs, max: of all\n"
          f"  {'':34}{'calls':>10}{'p50':>8}{'p99':>8}{'p99.9':>8}{'max':>12}{'undisturbed':>13}")
    for (name, window, call), runs in found.items():
        calls, *p, worst, undisturbed = zip(*runs)
        line = f"{statistics.median(calls):>10,.0f}" + "".join(f"{statistics.median(q):>8,.0f}" for q in p)
        print(f"  {name + ', ' + window:27}{call:7}{line}{max(worst):>12,.0f}{max(undisturbed):>13,.0f}", flush=True)


def start_up(context):
    names = ("bare", "memtrace sampled", "memtrace all")
    samples = interleaved(names, context.choose(40, 200),
                          lambda name: timed(["/bin/true"], context.tools[name].environment))
    for which, what in enumerate(("wall", "processor")):
        compare(f"/bin/true: {what} time", "ms", context.tools, {n: [s[which] for s in v] for n, v in samples.items()})


def resident_kib(context, name, count, size):
    program = context.build / "tests/bench/one_more"
    return float(output([program, "live", count, size], context.tools[name].environment).split()[1])


def memory(context):
    heading("resident memory that memtrace adds", "", against=False)
    for count in (10**5, 10**6):
        samples = interleaved(("bare", "memtrace all"), context.choose(2, 5),
                              lambda name: resident_kib(context, name, count, 64))
        row(f"all, {count:,} live, B each",
            [(a - b) * 1024 / count for a, b in zip(samples["memtrace all"], samples["bare"])])
    size, total = 100000, context.choose(2, 10)
    samples = interleaved(("bare", "memtrace sampled"), context.choose(2, 5),
                          lambda name: resident_kib(context, name, (total << 30) // size, size))
    row(f"sampled, {total} GiB live, MiB",
        [(a - b) / 1024 for a, b in zip(samples["memtrace sampled"], samples["bare"])])


def run(context):
    snapshot_and_memdiff(context)
    latency(context)
    start_up(context)
    memory(context)
