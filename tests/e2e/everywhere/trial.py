"""One place: the program bare, exact and sampled; what differs is a problem."""
import glob
import json
import os
import select
import shutil
import signal
import subprocess
import time

PATIENCE = 60.0
IN_CHILD = "in_child"
TINY = 0.2  # of the truth: five standard deviations of some 640 samples


class Failed(Exception):
    pass


class Ran:
    """A run: what it said, and the snapshots of parent and child."""

    def __init__(self):
        self.out, self.err, self.status, self.snapshots = b"", b"", None, {}


class Trial:
    def __init__(self, place, build, work):
        self.place, self.build, self.work = place, build, work
        self.problems = []
        self.snapshots = place.outside(place.inside / "snapshots")

    def run(self):
        """The table's row."""
        self.sites = self.share = "-"
        for library in ("libmemtrace.so", "libmemtrace-boost.so"):
            shutil.copy(self.build / "preload" / library, self.place.outside(self.place.inside / library))
        same = mode = "-"
        try:
            mode = "bare"
            bare = self.start(None)
            same = "yes"
            for unwinder in self.place.unwinders:
                mode = f"all, {unwinder}"
                exact = self.start({"MEMTRACE_SAMPLE": "all", "MEMTRACE_UNWIND": unwinder})
                same = self.compare(mode, bare, exact, same)
                self.check_exact(exact, mode)
            mode = "sampled"
            sampled = self.start({"MEMTRACE_SAMPLE": "16KiB", "MEMTRACE_SEED": "1"})
            same = self.compare(mode, bare, sampled, same)
            self.check_sampled(sampled)
        except (Failed, OSError, subprocess.SubprocessError) as error:
            self.problems.append(f"{mode}: {error}")
        return [self.place.name, self.place.libc, self.sites, self.share, same]

    def start(self, settings):
        shutil.rmtree(self.snapshots, ignore_errors=True)
        self.snapshots.mkdir()
        inside = self.place.inside
        env = {"PATH": "/usr/bin:/bin"}
        if settings is not None:
            env |= {"LD_PRELOAD": str(inside / "libmemtrace.so"), "MEMTRACE_DIR": str(inside / "snapshots"), **settings}
        process = subprocess.Popen([inside / "everywhere", inside / "everywhere_plugin.so"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, preexec_fn=self.place.enter)
        try:
            return self.talk(process, settings is not None)
        finally:
            process.kill()
            process.communicate()

    def talk(self, process, shim):
        ran = Ran()
        for who in ("child", "parent"):
            self.read_until(process, ran, b"child ready\n" if who == "child" else b"\nready\n")
            if shim:
                ran.snapshots[who] = self.snapshot_of(process.pid if who == "parent" else child_of(process.pid))
            process.stdin.write(b"x")
            process.stdin.flush()
        process.stdin.close()
        process.stdin = None
        rest, ran.err = process.communicate(timeout=PATIENCE)
        ran.out += rest
        ran.status = process.returncode
        return ran

    def read_until(self, process, ran, end):
        deadline = time.monotonic() + PATIENCE
        while not ran.out.endswith(end):
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            more = os.read(process.stdout.fileno(), 65536) if ready else b""
            if not more:
                how = f"it hung before {end!r}"
                if ready:
                    how = f"it ended with status {process.wait(PATIENCE)} before {end!r}"
                process.kill()
                raise Failed(f"{how}: {process.communicate()[1].decode()[:400]}")
            ran.out += more

    def snapshot_of(self, pid):
        os.kill(pid, signal.SIGUSR2)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = glob.glob(str(self.snapshots / f"*.{pid}.*.snap"))
            if found:
                return found[0]
            time.sleep(0.01)
        raise Failed(f"no snapshot came of process {pid}")

    def compare(self, mode, bare, traced, same):
        for what in ("status", "out", "err"):
            if getattr(bare, what) != getattr(traced, what):
                self.problems.append(f"{mode}: {what}: {getattr(traced, what)!r}, bare {getattr(bare, what)!r}")
                same = "no"
        return same

    def report(self, file):
        done = subprocess.run([self.build / "analyzer/memdiff", "-g", "function", "-F", "json", "-n", "0", "--no-debuginfod",
                               "--sysroot", self.place.root, file], capture_output=True, check=True)
        return json.loads(done.stdout)

    def check_exact(self, ran, mode):
        truths = truth_in(ran.out)
        for who, file in ran.snapshots.items():
            truth = {name: held for name, held in truths.items() if who == "child" or name != IN_CHILD}
            report = self.report(file)
            found = {site["function"]: (site["size"]["new"], site["count"]["new"]) for site in report["sites"]
                     if site["function"] in truths}
            for name in sorted(truth.keys() | found.keys()):
                if truth.get(name) != found.get(name):
                    self.problems.append(f"{mode}, {who}: {name}: {found.get(name)}, truth {truth.get(name)}")
            if report["self"]["lost"] != 0:
                self.problems.append(f"{mode}, {who}: lost {report['self']['lost']}")
            self.sites = f"{len(found)} of {len(truth)}"

    def check_sampled(self, ran):
        truth = truth_in(ran.out)
        for who, file in ran.snapshots.items():
            whole = sum(size for name, (size, _) in truth.items() if who == "child" or name != IN_CHILD)
            share = self.report(file)["totals"]["size"]["new"] / whole
            self.share = f"{share:.2f}"
            if abs(share - 1) > TINY:
                self.problems.append(f"sampled, {who}: {share:.2f} of the truth")


def child_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return int(file.read().split()[0])


def truth_in(out):
    lines = [line.split() for line in out.decode().splitlines() if line.startswith("site ")]
    return {name: (int(size), int(count)) for _, name, size, count in lines}
