"""PostgreSQL, with its processes, under pgbench."""
import glob
import os
import pwd
import re
import signal
import subprocess
import time

from run import children, Failed, OTHER_SIGNAL, PATIENCE, wait_for


def postgres(run):
    if os.getuid() != 0:
        raise Failed("must start as root: postgres runs as an account of its own")
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"))
    binaries = os.path.dirname(found[-1])
    account = pwd.getpwnam("postgres")
    for path in (run.work, run.snapshots):
        os.chown(path, account.pw_uid, account.pw_gid)
    options = {"user": "postgres", "group": "postgres", "extra_groups": []}
    data = os.path.join(run.work, "data")
    env = run.env(sig=OTHER_SIGNAL)

    def tool(key, *argv):
        process = run.start([os.path.join(binaries, argv[0]), *argv[1:]], env, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        out, err = process.communicate(timeout=PATIENCE * 3)
        if key:
            run.say(key, process.returncode, out, err)
        return process.returncode, out, err

    tool("initdb", "initdb", "-D", data, "-A", "trust", "--no-sync", "-E", "UTF8", "--no-locale")
    with open(os.path.join(run.work, "log"), "wb") as log:
        server = run.start([os.path.join(binaries, "postgres"), "-D", data, "-c", "listen_addresses=", "-c",
                            f"unix_socket_directories={run.work}", "-c", "shared_buffers=16MB", "-c", "fsync=off"], env,
                           stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)
        at = ["-h", run.work]
        wait_for("postgres", lambda: tool(None, "pg_isready", *at)[0] == 0, server)
        run.say("fill", tool(None, "pgbench", *at, "-i", "-q", "-s", "1", "postgres")[0])
        bench = run.start([os.path.join(binaries, "pgbench"), *at, "-c", "3", "-j", "1", "-t", "300", "--random-seed=1",
                           "postgres"], env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, **options)
        time.sleep(0.3)
        for pid in (server.pid, *children(server.pid)):
            try:
                run.snap(pid, OTHER_SIGNAL)
            except (ProcessLookupError, Failed):
                if os.path.exists(f"/proc/{pid}"):
                    raise
        out = bench.communicate()[0]
        run.say("bench", bench.returncode, re.findall(rb"actually processed: (\S+)", out))
        tool("sums", "psql", *at, "-Atc", "select count(*), sum(tbalance - (select sum(delta) from pgbench_history))"
             " from pgbench_tellers", "postgres")
        os.kill(server.pid, signal.SIGINT)
        server.wait(PATIENCE)
    with open(os.path.join(run.work, "log"), "rb") as log:
        noise = re.compile(rb"^\S+ \S+ UTC \[\d+\] ")
        lines = [noise.sub(b"", line) for line in log.read().splitlines()]
        # What is neither routine nor a matter of timing.
        run.say("end", server.returncode, [line for line in lines if not line.startswith((b"LOG:", b"FATAL:"))])
