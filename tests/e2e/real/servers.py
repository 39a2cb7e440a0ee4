"""Servers with processes or threads of their own: apache2 (prefork), php-fpm, memcached, sshd."""
import glob
import hashlib
import http.client
import os
import pwd
import signal
import socket
import subprocess
import threading

from run import OTHER_SIGNAL, PATIENCE, wait_for


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    except OSError:
        return False


def at_once(count, work):
    """What `count` threads return, sorted, and what they raised."""
    results, errors = [], []

    def one(number):
        try:
            results.append(work(number))
        except Exception as error:  # a thread's exception would be lost
            errors.append(repr(error))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(results), errors


def stop(run, server, sig=signal.SIGTERM):
    os.kill(server.pid, sig)
    errors = server.communicate(timeout=PATIENCE)[1]
    run.say("end", server.returncode, errors)


def apache(run):
    os.chmod(run.snapshots, 0o777)
    modules = "/usr/lib/apache2/modules"
    with open(os.path.join(run.work, "page.html"), "w") as file:
        file.write("".join(f"<p>line {i}</p>\n" for i in range(5000)))
    account = pwd.getpwnam("www-data") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    with open(os.path.join(run.work, "httpd.conf"), "w") as file:
        file.write("".join(f"LoadModule {name}_module {modules}/mod_{name}.so\n" for name in
                           ("mpm_prefork", "authz_core", "mime", "filter", "deflate", "dir", "rewrite")) +
                   f"""ServerRoot {run.work}
ServerName localhost
Listen 127.0.0.1:{run.port}
User {account.pw_name}
PidFile {run.work}/pid
ErrorLog {run.work}/error.log
DocumentRoot {run.work}
TypesConfig /dev/null
AddType text/html .html
AddOutputFilterByType DEFLATE text/html
StartServers 3
MinSpareServers 3
MaxSpareServers 3
MaxConnectionsPerChild 40
<Directory {run.work}>
  Require all granted
</Directory>
""")
    server = run.start(["/usr/sbin/apache2", "-d", run.work, "-f", "httpd.conf", "-DFOREGROUND"],
                       run.env(sig=OTHER_SIGNAL), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for("apache2", lambda: answers(run.port), server)

    def client(number):
        digest = hashlib.sha256()
        for i in range(40):
            connection = http.client.HTTPConnection("127.0.0.1", run.port, timeout=30)
            connection.request("GET", ("/page.html", "/missing")[i % 5 == 4],
                               headers={"Accept-Encoding": "gzip"} if number % 2 else {})
            response = connection.getresponse()
            digest.update(b"%d" % response.status + response.read())
            connection.close()
        return digest.hexdigest()

    run.say("load", at_once(4, client))
    run.snap(server.pid, OTHER_SIGNAL)
    os.kill(server.pid, signal.SIGUSR1)  # graceful restart
    wait_for("apache2 again", lambda: answers(run.port), server)
    run.say("load again", at_once(4, client))
    stop(run, server)


def php(run):
    os.chmod(run.snapshots, 0o777)
    binary = sorted(glob.glob("/usr/sbin/php-fpm*"))[-1]
    script = os.path.join(run.work, "page.php")
    with open(script, "w") as file:
        file.write("<?php $a = []; for ($i = 0; $i < 20000; $i++) { $a[] = str_repeat('x', $i % 100) . $i; }\n"
                   "usort($a, fn($x, $y) => strcmp($y, $x));\n"
                   "echo count($a), ' ', md5(implode(',', $a)), ' ', strlen(json_encode($a)), ' ',"
                   " preg_match_all('/x+1/', implode(' ', $a)), \"\\n\";\n")
    with open(os.path.join(run.work, "fpm.conf"), "w") as file:
        file.write(f"[global]\nerror_log = {run.work}/fpm.log\ndaemonize = no\n[pool]\nlisten = 127.0.0.1:{run.port}\n"
                   "user = www-data\ngroup = www-data\npm = static\npm.max_children = 3\npm.max_requests = 5\n"
                   "clear_env = no\n")
    server = run.start([binary, "-y", os.path.join(run.work, "fpm.conf"), "-n", "-F"], run.env(sig=OTHER_SIGNAL),
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for("php-fpm", lambda: answers(run.port), server)
    request = {"PATH": "/usr/bin:/bin", "SCRIPT_FILENAME": script, "REQUEST_METHOD": "GET"}

    def client(_):
        return b"".join(subprocess.run(["cgi-fcgi", "-bind", "-connect", f"127.0.0.1:{run.port}"], env=request,
                                       capture_output=True, check=True, timeout=PATIENCE).stdout for _ in range(10))

    run.say("load", at_once(3, client))
    run.snap(server.pid, OTHER_SIGNAL)
    run.say("load again", at_once(3, client))
    stop(run, server)
    # The same interpreter on its own.
    run.run("cli", ["php", "-n", script], run.env(at_exit=True))


def memcached(run):
    server = run.start(["memcached", "-l", "127.0.0.1", "-p", str(run.port), "-U", "0", "-m", "64", "-t", "4", "-u",
                        pwd.getpwuid(os.getuid()).pw_name], run.env(), stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for("memcached", lambda: answers(run.port), server)

    def client(number):
        digest = hashlib.sha256()
        with socket.create_connection(("127.0.0.1", run.port), timeout=30) as connection:
            stream = connection.makefile("rwb")
            for i in range(3000):
                value = b"%d" % i * (1 + i % 200)
                stream.write(b"set k%d.%d 0 0 %d\r\n%s\r\n" % (number, i, len(value), value))
                stream.flush()
                digest.update(stream.readline())
            for i in range(0, 3000, 7):
                stream.write(b"get k%d.%d\r\n" % (number, i))
                stream.flush()
                line = stream.readline()
                while line not in (b"END\r\n", b""):
                    digest.update(line.replace(b"k%d." % number, b"k."))
                    line = stream.readline()
        return digest.hexdigest()

    old = run.snap(server.pid)
    run.say("load", at_once(4, client))
    new = run.snap(server.pid)
    with socket.create_connection(("127.0.0.1", run.port), timeout=30) as connection:
        stream = connection.makefile("rwb")
        stream.write(b"stats\r\n")
        stream.flush()
        stats = {}
        for line in stream:
            if line == b"END\r\n":
                break
            _, name, value = line.split()[:3]
            stats[name] = value
    run.say("stats", [stats[name] for name in (b"curr_items", b"cmd_set", b"get_hits", b"bytes")])
    stop(run, server)
    if old:
        run.pairs.append((old, new))


def ssh(run):
    for kind, name in (("ed25519", "host"), ("ed25519", "user")):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", os.path.join(run.work, name)], check=True)
    os.makedirs("/run/sshd", exist_ok=True)
    with open(os.path.join(run.work, "sshd_config"), "w") as file:
        file.write(f"Port {run.port}\nListenAddress 127.0.0.1\nHostKey {run.work}/host\nPidFile none\nUsePAM no\n"
                   f"AuthorizedKeysFile {run.work}/user.pub\nStrictModes no\nPermitRootLogin yes\n"
                   "Subsystem sftp internal-sftp\nLogLevel ERROR\n")
    env = run.env(at_exit=True)
    server = run.start(["/usr/sbin/sshd", "-D", "-e", "-f", os.path.join(run.work, "sshd_config")], env,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for("sshd", lambda: answers(run.port), server)
    client = ["-F", "none", "-i", os.path.join(run.work, "user"), "-o", "StrictHostKeyChecking=no", "-o",
              "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    data = b"".join(b"%d\n" % i for i in range(300000))
    run.run("command", ["ssh", *client, "-p", str(run.port), "127.0.0.1", "cat | md5sum; exit 3"], env, stdin=data)
    run.run("compressed", ["ssh", *client, "-C", "-p", str(run.port), "127.0.0.1", "seq 100000"], env)
    with open(os.path.join(run.work, "file"), "wb") as file:
        file.write(data)
    run.run("sftp", ["sftp", "-q", *client, "-P", str(run.port), "-b", "-", "127.0.0.1"], env,
            stdin=f"put {run.work}/file {run.work}/copy\nls -1 {run.work}/copy\nget {run.work}/copy {run.work}/back\n"
            .encode())
    try:
        with open(os.path.join(run.work, "back"), "rb") as file:
            run.say("back", hashlib.sha256(file.read()).hexdigest())
    except FileNotFoundError as error:
        run.say("back", str(error))
    run.run("refused", ["ssh", *client, "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i",
                        os.path.join(run.work, "host"), "-p", str(run.port), "127.0.0.1", "true"], env)
    stop(run, server)
