"""Tools of every day: compressors, gdb, tmux, man, systemd's, sandboxes, and two large programs."""
import hashlib
import os
import re
import subprocess

from commands import text
from run import HELPERS, PATIENCE, wait_for


def compressors(run):
    data = text(6)
    env = run.env(at_exit=True)
    for name, pack in (("xz", ["xz", "-T2", "--block-size=500KiB", "-c"]), ("zstd", ["zstd", "-T2", "-9", "-c"]),
                       ("gzip", ["gzip", "-nc"]), ("bzip2", ["bzip2", "-c"])):
        packed = run.run(name, pack, env, stdin=data)
        run.run(name + " back", [name, "-dc"], env, stdin=packed)
    run.run("zstd damaged", ["zstd", "-dc"], env, stdin=packed[:1000])


def gdb(run):
    source = os.path.join(HELPERS, "program.cpp")
    program = os.path.join(run.work, "program")
    subprocess.run(["g++", "-g", "-O0", "-o", program, source], check=True, env={"PATH": "/usr/bin:/bin"})
    # A debugger is told of the thread that takes a snapshot, and of the signal for it, as of any other.
    run.run("debug", ["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "set print address off",
                      "-ex", "set print thread-events off", "-ex", "handle SIGUSR2 nostop noprint pass",
                      "-ex", "break main", "-ex", "run a b", "-ex", "backtrace", "-ex", "print argc", "-ex", "next",
                      "-ex", "print sizeof(tower)", "-ex", "continue", program], run.env(at_exit=True))
    status, out, errors = run.said["debug"]
    run.say("debug", status, re.sub(rb"\(process \d+\)", b"", out), errors)
    sleeper = run.start(["sleep", "1000"], run.env())
    run.run("attach", ["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "print 6*7", "-ex", "kill",
                       "-p", str(sleeper.pid)], dict(run.env(at_exit=True), LC_ALL="C"))
    run.said["attach"] = (run.said["attach"][0], b"$1 = 42" in run.said["attach"][1])
    sleeper.wait(PATIENCE)
    run.say("killed", sleeper.returncode)


def tmux(run):
    env = dict(run.env(at_exit=True), TERM="screen", TMUX_TMPDIR=run.work, SHELL="/bin/sh", PS1="$ ")
    at = ["tmux", "-L", "socket", "-f", "/dev/null"]
    run.run("new", [*at, "new-session", "-d", "-x", "80", "-y", "24", "-s", "one",
                    "sh -c 'seq 1 2000; echo finished; exec sleep 1000'"], env)
    screen = [*at, "capture-pane", "-p", "-t", "one"]

    def finished():
        out = subprocess.run(screen, env=dict(env, LD_PRELOAD=""), capture_output=True).stdout
        return out if b"finished" in out else None

    run.say("screen", wait_for("tmux's pane", finished))
    run.run("split", [*at, "split-window", "-d", "-t", "one", "sleep 1000"], env)
    run.run("panes", [*at, "list-panes", "-t", "one", "-F", "#{pane_index} #{pane_width} #{pane_height}"], env)
    for i in range(60):
        run.run(f"window {i}", [*at, "new-window", "-d", "-n", f"w{i}", f"sh -c 'seq {i} 3000; exec sleep 1000'"], env)
        if i >= 3:
            run.run(f"end {i}", [*at, "kill-window", "-t", f"one:w{i - 3}"], env)
    run.run("windows", [*at, "list-windows", "-t", "one", "-F", "#{window_index} #{window_name}"], env)
    run.run("kill", [*at, "kill-server"], env)
    run.run("gone", [*at, "list-sessions"], env)


def man(run):
    """man confines the filters that it starts by seccomp."""
    page = os.path.join(run.work, "page.1")
    with open(page, "w") as file:
        file.write(".TH PAGE 1\n.SH NAME\npage \\- a page\n.SH TEXT\n" +
                   "".join(f".TP\n.B word{i}\nwhat number {i} means, at some length\n" for i in range(300)))
    run.expects_none = True  # in such a filter one is refused, with a message: only the storm asks
    env = dict(run.env(), MANWIDTH="78", MANPAGER="cat")
    run.run("page", ["man", "-P", "cat", "-l", page], env)
    subprocess.run(["gzip", "-n", page], check=True)
    run.run("packed page", ["man", "-P", "cat", "-l", page + ".gz"], env)
    run.run("none", ["man", "-P", "cat", "no-such-page"], env)


def systemd(run):
    env = run.env(at_exit=True)
    unit = os.path.join(run.work, "some.service")
    with open(unit, "w") as file:
        file.write("[Unit]\nDescription=some\n[Service]\nExecStart=/bin/true\nNonsense=1\n")
    run.run("calendar", ["systemd-analyze", "calendar", "--base-time=2020-01-01 00:00:00", "--iterations=20",
                         "Mon..Fri *-*-1/2 10:00"], env)
    run.said["calendar"] = (run.said["calendar"][0],
                            [line for line in run.said["calendar"][1].splitlines() if b"From now" not in line])
    run.run("verify", ["systemd-analyze", "verify", "--man=no", unit], env)
    run.run("escape", ["systemd-escape", "-p", "/a/strange path/ä"], env)
    config = os.path.join(run.work, "some.conf")
    with open(config, "w") as file:
        file.write("d /some 0750 root root - -\nf /some/file 0600 root root - text\n")
    root = os.path.join(run.work, "root")
    os.makedirs(root)
    run.run("tmpfiles", ["systemd-tmpfiles", "--create", f"--root={root}", config], env)
    run.run("made", ["find", "root", "-printf", "%P %m %s\\n"], env)
    run.run("journal", ["journalctl", "-D", root, "--no-pager", "-q"], env)


def sandboxes(run):
    env = run.env(at_exit=True)
    run.run("bwrap", ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--unshare-all", "--die-with-parent", "sh", "-c",
                      "id -u; ls /proc | head -1; seq 5 | sort -r"], env)
    run.run("bwrap empty", ["bwrap", "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink",
                            "usr/lib64", "/lib64", "--symlink", "usr/bin", "/bin", "--unshare-all", "--clearenv", "sh",
                            "-c", "ls /; echo $$"], env)
    run.run("user", ["unshare", "-Ur", "sh", "-c", "id -u; cat /proc/self/uid_map"], env)
    # What waits there may start no thread: at its exit it would say so.
    run.run("pid", ["unshare", "--fork", "--pid", "sh", "-c", "echo $$; sh -c 'echo $PPID'"], run.env())
    run.run("mount", ["unshare", "-m", "sh", "-c", f"mount -t tmpfs none {run.work} && touch {run.work}/x && ls "
                      f"{run.work}"], env)
    run.run("threads", ["python3", "-c", "import ctypes\nc = ctypes.CDLL(None, use_errno=True)\n"
                        "print(c.unshare(0x10000000), ctypes.get_errno())"], env)


def ffmpeg(run):
    run.run("encode", ["ffmpeg", "-v", "error", "-threads", "4", "-f", "lavfi", "-i",
                       "testsrc=duration=4:size=640x360:rate=25", "-c:v", "mpeg4", "-flags", "+bitexact", "-f", "md5", "-"],
            run.env(at_exit=True))


def chromium(run):
    page = os.path.join(run.work, "page.html")
    with open(page, "w") as file:
        file.write("<!doctype html><title>t</title><body><script>for (let i = 0; i < 500; i++) {"
                   "let p = document.createElement('p'); p.textContent = 'line ' + i * i; document.body.append(p); }"
                   "</script>")
    process = run.start(["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--user-data-dir=" + run.work,
                         "--dump-dom", "file://" + page], run.env(at_exit=True), stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    out = process.communicate(timeout=PATIENCE * 3)[0]
    run.say("page", process.returncode, hashlib.sha256(out).hexdigest(), len(out))
