"""Loops of malloc and free: what a pair costs under each tool."""
import itertools

from harness import compare, heading, interleaved, output, row

# (depth, threads, pattern) of malloc_pair
TITLES = {
    (1, 1, "plain"): "64 mallocs of 16 to 527 bytes, 64 frees; depth 1, 1 thread",
    (10, 1, "plain"): "the same, depth 10, 1 thread",
    (40, 1, "plain"): "the same, depth 40, 1 thread",
    (1, 2, "plain"): "the same, depth 1, 2 threads; time of both together",
    (10, 2, "plain"): "the same, depth 10, 2 threads",
    (40, 2, "plain"): "the same, depth 40, 2 threads",
    (10, 1, "mixed"): "mixed sizes up to 16 KiB, freed in another order; depth 10, 1 thread",
    (10, 2, "cross"): "freed by another thread; depth 10, 2 threads",
}


def pair_ns(program, tool, workload, rounds):
    depth, threads, pattern = workload
    return float(output([program, depth, threads, rounds, pattern], tool.environment))


def rounds_for(program, tool, workload, milliseconds):
    """How many rounds of the loop take so long: found by growing, as tools differ by a factor of a thousand."""
    for rounds in (32 * 8**n for n in itertools.count()):
        ns = pair_ns(program, tool, workload, rounds)
        if rounds * 64 * ns >= milliseconds * 1e6 / 10:
            return max(1, round(milliseconds * 1e6 / (64 * ns)))


def two_threads(samples, tools):
    """All workloads are in every round, so that these two are neighbours."""
    heading("throughput of 2 threads over that of 1, the loop at depth 10", "times", against=False)
    for name in tools:
        one, two = samples[TITLES[(10, 1, "plain")], name], samples[TITLES[(10, 2, "plain")], name]
        row(name, [a / b for a, b in zip(one, two)])


def run(context):
    program = context.build / "tests/bench/malloc_pair"
    rounds = {(title, name): rounds_for(program, tool, workload, context.choose(30, 150))
              for workload, title in TITLES.items() for name, tool in context.tools.items()}
    workload_of = {title: workload for workload, title in TITLES.items()}
    samples = interleaved(rounds, context.choose(3, 9), lambda key: pair_ns(
        program, context.tools[key[1]], workload_of[key[0]], rounds[key]))
    for title in workload_of:
        compare(title, "ns/pair", context.tools, {name: samples[title, name] for name in context.tools})
    two_threads(samples, context.tools)
