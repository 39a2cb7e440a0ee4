"""nginx with workers under load, and its own use of SIGUSR2."""
import glob
import hashlib
import http.client
import os
import pwd
import signal
import subprocess
import threading

from run import children, Failed, OTHER_SIGNAL, PATIENCE, wait_for


def nginx_start(run, sig, daemon="off"):
    for name, size in (("small", 1000), ("large", 300000)):
        with open(os.path.join(run.work, name), "w") as file:
            file.write(name * (size // len(name)))
    with open(os.path.join(run.work, "nginx.conf"), "w") as file:
        user = pwd.getpwuid(os.getuid()).pw_name
        # nginx hands its second binary only the variables that are named here.
        file.write(f"""env LD_PRELOAD; env MEMTRACE_DIR; env MEMTRACE_SAMPLE;
daemon {daemon}; worker_processes 2; pid {run.work}/pid; error_log {run.work}/error.log; user {user};
events {{ worker_connections 256; }}
http {{ access_log off; client_body_temp_path {run.work}/b; proxy_temp_path {run.work}/p;
  fastcgi_temp_path {run.work}/f; uwsgi_temp_path {run.work}/u; scgi_temp_path {run.work}/s; gzip on; gzip_types *;
  server {{ listen 127.0.0.1:{run.port}; root {run.work};
    location /again/ {{ proxy_pass http://127.0.0.1:{run.port}/; }} }} }}
""")
    server = run.start(["/usr/sbin/nginx", "-p", run.work, "-c", "nginx.conf", "-e", "stderr"], run.env(sig=sig),
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for("nginx", lambda: nginx_answers(run), None if daemon == "on" else server)
    return server


def nginx_answers(run):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", run.port, timeout=5)
        connection.request("GET", "/small")
        return connection.getresponse().status == 200
    except OSError:
        return False


def nginx_load(run, rounds):
    results, errors = [], []

    def client(number):
        try:
            digest = hashlib.sha256()
            for i in range(rounds):
                connection = http.client.HTTPConnection("127.0.0.1", run.port, timeout=30)
                for path in ("/small", "/large", "/again/large", "/missing"):
                    headers = {"Accept-Encoding": "gzip"} if (i + number) % 2 else {}
                    connection.request("GET", path, headers=headers)
                    response = connection.getresponse()
                    digest.update(b"%d" % response.status + response.read())
                connection.close()
            results.append(digest.hexdigest())
        except Exception as error:  # a thread's exception would be lost
            errors.append(repr(error))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(results), errors


def nginx(run):
    server = nginx_start(run, OTHER_SIGNAL)
    workers = wait_for("workers", lambda: (lambda found: found if len(found) == 2 else None)(children(server.pid)))
    run.say("load 1", nginx_load(run, 30))
    old = [run.snap(pid, OTHER_SIGNAL) for pid in (*workers, server.pid)]
    run.say("load 2", nginx_load(run, 60))
    new = [run.snap(pid, OTHER_SIGNAL) for pid in (*workers, server.pid)]
    os.kill(server.pid, signal.SIGHUP)
    wait_for("new workers", lambda: len(set(children(server.pid)) - set(workers)) == 2 and
             not set(children(server.pid)) & set(workers), server)
    run.say("load 3", nginx_load(run, 5))
    os.kill(server.pid, signal.SIGQUIT)
    errors = server.stderr.read()
    server.wait(PATIENCE)
    run.say("end", server.returncode, errors)
    if old[0]:
        run.pairs += list(zip(old, new))


def nginx_upgrade(run):
    """nginx's own SIGUSR2: a second master takes over, the first one leaves. Works only as a daemon."""
    run.expects_none = True
    server = nginx_start(run, signal.SIGUSR2, daemon="on")
    errors = server.communicate(timeout=PATIENCE)[1]
    pid_file = os.path.join(run.work, "pid")

    def read_pid(path):
        with open(path) as file:
            return int(file.read() or 0)

    first = wait_for("the first master", lambda: os.path.exists(pid_file) and read_pid(pid_file))
    run.daemons.append(first)
    os.kill(first, signal.SIGUSR2)
    wait_for("the second master", lambda: os.path.exists(pid_file + ".oldbin") and os.path.exists(pid_file))
    second = wait_for("its pid", lambda: read_pid(pid_file))
    run.daemons.append(second)
    wait_for("its workers", lambda: len(children(second)) == 2)
    run.say("two masters", second != first, nginx_load(run, 5))
    if not run.mode.startswith("bare"):
        for pid in (first, second):
            with open(f"/proc/{pid}/maps") as file:
                if "libmemtrace.so" not in file.read():
                    raise Failed("a master runs without the shim")
        # nginx leaves SIGUSR2 to the masters; what handlers the workers have is nginx's too.
        if glob.glob(os.path.join(glob.escape(run.snapshots), "*.snap")):
            raise Failed("the signal that was nginx's made a snapshot")
    os.kill(first, signal.SIGQUIT)
    wait_for("the first to leave", lambda: not os.path.exists(f"/proc/{first}"))
    run.say("first left", nginx_load(run, 5))
    os.kill(second, signal.SIGQUIT)
    wait_for("the second to leave", lambda: not os.path.exists(f"/proc/{second}"))
    run.say("end", server.returncode, errors)
