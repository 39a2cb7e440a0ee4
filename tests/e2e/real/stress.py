"""stress-ng: a fixed number of operations of one kind, which it verifies itself."""
import subprocess

from run import PATIENCE

OPERATIONS = {
    "malloc": 20000, "bigheap": 300, "stack": 200, "fork": 400, "vfork": 400, "clone": 300, "spawn": 60, "exec": 60,
    "mmap": 60, "mmapfork": 2, "mremap": 300, "brk": 20000, "madvise": 100, "mlock": 500,
    "signal": 20000, "sigq": 5000, "sigfd": 5000, "sigpending": 5000, "sigsuspend": 2000, "sigsegv": 500, "kill": 3000,
    "context": 2000, "pthread": 500, "dynlib": 200, "timer": 2000, "itimer": 300, "epoll": 500, "sem": 20000,
}


def stress(run):
    for kind, operations in OPERATIONS.items():
        process = run.start(["stress-ng", f"--{kind}", "2", f"--{kind}-ops", str(operations), "--verify", "--timeout",
                             "8", "--quiet", "--temp-path", run.work, "--seed", "7"], run.env(at_exit=True),
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=PATIENCE * 2)
        run.say(kind, process.returncode, out, err)
