"""redis-server under load, by the shim's path and by its bare name."""
import os
import re
import subprocess

from run import Failed, PATIENCE, wait_for

REDIS_KEYS = 200000


def redis_commands(first, count):
    value = b"v" * 100
    parts = []
    for i in range(first, first + count):
        parts.append(b"*3\r\n$3\r\nSET\r\n$12\r\nkey:%08d\r\n$100\r\n%s\r\n" % (i, value))
    return b"".join(parts)


def redis(run, shim=None, prefix=()):
    port = str(run.port)
    cli = ["redis-cli", "-h", "127.0.0.1", "-p", port]
    bare = {"PATH": "/usr/bin:/bin"}

    def ask(*words, stdin=None):
        return subprocess.run(cli + list(words), env=bare, capture_output=True, input=stdin, check=False).stdout

    def memory():
        return int(re.search(rb"used_memory:(\d+)", ask("info", "memory")).group(1))

    def load(first, count):
        ask("--pipe", stdin=redis_commands(first, count))

    with open(os.path.join(run.work, "log"), "wb") as log:
        server = run.start([*prefix, "redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly",
                            "no", "--dir", run.work], run.env(shim=shim), stdout=log, stderr=subprocess.PIPE)
        wait_for("redis", lambda: ask("ping") == b"PONG\n", server)
        pid = int(re.search(rb"process_id:(\d+)", ask("info", "server")).group(1))
        load(0, 50000)
        benchmark = subprocess.run(["redis-benchmark", "-h", "127.0.0.1", "-p", port, "-q", "-c", "8", "-P", "8", "-n",
                                    "40000", "-t", "ping,get,incr,lpush,lrange_100,mset"], env=bare,
                                   capture_output=True, check=False)
        run.say("benchmark", benchmark.returncode, benchmark.stderr)
        old, before = run.snap(pid), memory()
        load(50000, REDIS_KEYS)
        new, after = run.snap(pid), memory()
        run.facts["growth"] = after - before
        run.say("keys", ask("dbsize"), ask("debug", "digest"))
        run.say("memory", (after - before) >> 20)
        ask("shutdown", "nosave")
        errors = server.stderr.read()
        server.wait(PATIENCE)
        run.say("end", server.returncode, errors)
    if old:
        run.pairs.append((old, new))


def redis_by_name(run):
    """As after an installation: the loader finds the shim by its bare name."""
    if run.mode.startswith("bare"):
        return redis(run)
    # In a mount namespace of its own, so that nothing outside is touched.
    install = os.path.join(run.work, "install.sh")
    with open(install, "w") as file:
        file.write(
            "set -e\n"
            "mount -t tmpfs tmpfs /usr/local/lib\n"
            f"cp {run.tools.shim} /usr/local/lib/\n"
            f"cp /etc/ld.so.cache {run.work}/ld.so.cache\n"
            f"ldconfig -C {run.work}/ld.so.cache\n"
            f"mount --bind {run.work}/ld.so.cache /etc/ld.so.cache\n"
            'exec env LD_PRELOAD=libmemtrace.so "$@"\n')
    return redis(run, shim="", prefix=("unshare", "--mount", "sh", install))


def redis_saving(run):
    """Children that save while the parent goes on: twice to a file, and from it into a second server."""
    port = str(run.port)
    bare = {"PATH": "/usr/bin:/bin"}

    def ask(*words, stdin=None):
        return subprocess.run(["redis-cli", "-h", "127.0.0.1", "-p", port, *words], env=bare, capture_output=True,
                              input=stdin, check=False).stdout

    argv = ["redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "yes", "--dir", run.work]
    for first in (True, False):
        with open(os.path.join(run.work, "log"), "ab") as log:
            server = run.start(argv, run.env(at_exit=True), stdout=log, stderr=subprocess.PIPE)
            wait_for("redis", lambda: ask("ping") == b"PONG\n", server)
            if first:
                for start in (0, 30000):
                    ask("--pipe", stdin=redis_commands(start, 30000))
                    for command, waiting in (("bgsave", b"rdb_bgsave_in_progress:0"),
                                             ("bgrewriteaof", b"aof_rewrite_in_progress:0")):
                        ask(command)
                        ask("--pipe", stdin=redis_commands(start, 5000))
                        wait_for(command, lambda: waiting in ask("info", "persistence"), server)
            run.say(f"keys {first}", ask("dbsize"), ask("debug", "digest"),
                    re.findall(rb"(?:rdb_last_bgsave|aof_last_bgrewrite)_status:\w+", ask("info", "persistence")))
            ask("shutdown", "nosave")
            errors = server.stderr.read()
            server.wait(PATIENCE)
            run.say(f"end {first}", server.returncode, errors)


def redis_growth(runs, report):
    """Growth by `all` against what the server says, growth by samples against `all`."""
    truth = runs["all"].facts["growth"]
    exact = report("all")["totals"]["size"]["diff"]
    sampled = report("sampled")
    estimate = sampled["totals"]["size"]["diff"]
    mib = 1 << 20
    text = (f"used_memory +{truth / mib:.2f} MiB (rounded up to size classes), every allocation +{exact / mib:.2f} MiB, "
            f"sampled +{estimate / mib:.2f} MiB")
    # What was asked for lies below what the allocator hands out, by no more than the classes are apart.
    if not 0.8 * truth <= exact <= 1.01 * truth:
        raise Failed("growth: " + text)
    # Poisson: about growth / interval samples; five standard deviations.
    allowed = 5 * (exact * sampled["sampling"]["interval_bytes"]) ** 0.5
    if abs(estimate - exact) > allowed:
        raise Failed("growth: " + text)
    return text
