"""One run of a program, bare or under the shim: what it said, and the snapshots of it."""
import collections
import glob
import os
import signal
import subprocess
import tempfile
import time

HELPERS = os.path.dirname(os.path.abspath(__file__))  # scripts and sources that programs are given
OTHER_SIGNAL = signal.SIGRTMIN + 9
PATIENCE = 60  # seconds for anything that should come soon


class Failed(Exception):
    pass


def wait_for(what, condition, process=None):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        if process and process.poll() is not None:
            raise Failed(f"{what}: the program ended with {process.returncode}")
        time.sleep(0.02)
    raise Failed(f"{what}: did not come in {PATIENCE} s")


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except FileNotFoundError:
        return []


class Run:
    """One run of one program in one mode: what it said, and the snapshots of it."""

    def __init__(self, mode, work, snapshots, tools, port):
        self.mode = mode
        self.work = work
        self.snapshots = snapshots
        self.tools = tools
        self.port = port
        self.signal = signal.SIGUSR2  # the one that its programs take snapshots by
        self.said = collections.OrderedDict()
        self.facts = {}
        self.expects_none = False  # no snapshot
        self.started = []
        self.daemons = []  # what left our process tree
        self.pairs = []

    def env(self, sig=signal.SIGUSR2, at_exit=False, shim=None, **more):
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": self.work, "LANG": "C.UTF-8", "TZ": "UTC"}
        env.update(more)
        self.signal = sig
        if self.mode.startswith("bare"):
            return env
        env["LD_PRELOAD"] = shim or self.tools.shim
        env["MEMTRACE_DIR"] = self.snapshots
        if sig != signal.SIGUSR2:
            env["MEMTRACE_SIGNAL"] = f"SIGRTMIN+{sig - signal.SIGRTMIN}"
        if at_exit:
            env["MEMTRACE_AT_EXIT"] = "1"
        if self.mode == "all":
            env["MEMTRACE_SAMPLE"] = "all"
        return env

    def start(self, argv, env, **options):
        process = subprocess.Popen(argv, env=env, cwd=options.pop("cwd", self.work), start_new_session=True,
                                   **options)
        self.started.append(process)
        return process

    def run(self, key, argv, env=None, stdin=b"", cwd=None):
        """Runs to the end and keeps everything it said."""
        process = self.start(argv, env or self.env(), cwd=cwd or self.work, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(stdin, timeout=PATIENCE * 3)
        self.say(key, process.returncode, out, err)
        return out

    def say(self, key, *what):
        self.said[key] = what

    def snap(self, pid, sig=signal.SIGUSR2):
        if self.mode.startswith("bare"):
            return None
        pattern = os.path.join(glob.escape(self.snapshots), f"*.{pid}.*.snap")
        before = set(glob.glob(pattern))
        os.kill(pid, sig)

        def come():
            found = sorted(set(glob.glob(pattern)) - before)
            if not found and not os.path.exists(f"/proc/{pid}"):
                raise Failed(f"{pid} ended instead of taking a snapshot")
            return found

        return wait_for(f"snapshot of {pid}", come)[0]

    def dialogue(self, key, argv, env=None):
        """For programs that say READY and go on after a newline: a snapshot at each."""
        with tempfile.TemporaryFile() as errors:
            process = self.start(argv, env or self.env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=errors)
            out, taken = [], []
            for line in process.stdout:
                out.append(line)
                if line == b"READY\n":
                    taken.append(self.snap(process.pid))
                    process.stdin.write(b"\n")
                    process.stdin.flush()
            process.wait(PATIENCE)
            errors.seek(0)
            self.say(key, process.returncode, b"".join(out), errors.read())
        if len(taken) >= 2 and taken[0]:
            self.pairs.append((taken[0], taken[1]))

    def snap_descendants(self, process, name):
        """Asks every descendant with this name for one snapshot, once it is ready for the signal."""
        if self.mode.startswith("bare"):
            return
        asked = set()
        while process.poll() is None:
            todo = [process.pid]
            while todo:
                pid = todo.pop()
                todo += children(pid)
                try:
                    with open(f"/proc/{pid}/comm") as file:
                        wanted = file.read().strip() == name and pid not in asked
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if wanted:
                    done = subprocess.run([self.tools.memtrace, "snap", str(pid)], capture_output=True)
                    if done.returncode == 0:
                        asked.add(pid)
            time.sleep(0.05)

    def clean_up(self):
        for process in self.started:
            if process.poll() is None:
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                process.wait()
        for pid in self.daemons:
            for each in [pid] + [p for child in children(pid) for p in (child, *children(child))]:
                try:
                    os.kill(each, signal.SIGKILL)
                except ProcessLookupError:
                    pass
