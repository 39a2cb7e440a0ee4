"""stress-ng: a fixed number of operations of one kind, which it verifies itself."""
import os
import pwd
import re
import subprocess

from run import PATIENCE

OPERATIONS = {
    "malloc": 20000, "bigheap": 300, "stack": 4, "fork": 400, "vfork": 400, "clone": 40, "spawn": 60, "exec": 20,
    "mmap": 20, "mremap": 40, "brk": 20000, "madvise": 10, "mlock": 500, "signal": 20000, "sigq": 5000, "sigfd": 5000,
    "sigpending": 5000, "sigsuspend": 2000, "sigsegv": 500, "kill": 3000, "context": 1000, "pthread": 500,
    "dynlib": 200, "timer": 2000, "itimer": 100, "epoll": 500, "sem": 200,
}
SMALLER = {"mmap": ["--mmap-bytes", "16M"], "mremap": ["--mremap-bytes", "2M"]}  # than a share of all memory
SECONDS = {"exec": 4, "sem": 4}  # those that go on until then, whatever their count


def stress(run):
    # Some kinds refuse to run as root.
    account = pwd.getpwnam("nobody")
    for path in (run.work, run.snapshots):
        os.chown(path, account.pw_uid, account.pw_gid)
    for kind, operations in OPERATIONS.items():
        seconds = SECONDS.get(kind, PATIENCE)
        process = run.start(["stress-ng", f"--{kind}", "2", f"--{kind}-ops", str(operations), *SMALLER.get(kind, ()),
                             "--verify", "--timeout", str(seconds), "--metrics-brief", "--temp-path", run.work, "--seed",
                             "7"], run.env(at_exit=True), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, user=account.pw_uid, group=account.pw_gid, extra_groups=[])
        out = process.communicate(timeout=PATIENCE * 2)[0]
        # A kind that hangs is ended by the timeout, with success: only the count tells.
        done = re.search(rb"\] %s +(\d+) " % kind.encode(), out)
        run.say(kind, process.returncode, bool(done) and int(done[1]) >= operations,
                re.findall(rb"stress-ng: (?:fail|error|warn): .*", out))
