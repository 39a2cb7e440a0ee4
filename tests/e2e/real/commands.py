"""Programs that read, work, write and end: sqlite3, g++, git and filters."""
import hashlib
import os
import subprocess
import tempfile

from run import HELPERS, PATIENCE, wait_for


def sqlite(run):
    database = os.path.join(run.work, "test.db")
    with tempfile.TemporaryFile() as errors:
        process = run.start(["sqlite3", database], run.env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=errors)

        def ask(sql, marker):
            process.stdin.write(sql.encode() + f"\n.once {marker}\nselect 1;\n".encode())
            process.stdin.flush()
            wait_for(marker, lambda: os.path.exists(os.path.join(run.work, marker)), process)
            return run.snap(process.pid)

        numbers = "with recursive c(x) as (select 1 union all select x+1 from c where x<{}) "
        old = ask("create temp table k(x, s); pragma temp_store=memory; create table t(x integer primary key, s text);"
                  "begin; " + f"insert into t {numbers.format(20000)} select x, 'value '||x from c; commit;", "one")
        new = ask("pragma cache_size=-40000; begin;"
                  f"insert into t {numbers.format(120000)} select x+20000, 'longer value '||x||hex(zeroblob(40)) from c;"
                  "create index i on t(s); commit; select count(*), sum(length(s)) from t;"
                  "select s, count(*) from t group by substr(s, 1, 9) order by 2 desc, 1 limit 5;", "two")
        out, _ = process.communicate(b"select json_group_array(x) from t where x < 50;\npragma integrity_check;\n"
                                     b".print bye\n.exit 4\n")
        errors.seek(0)
        run.say("run", process.returncode, out, errors.read())
    if old:
        run.pairs.append((old, new))


def compiler(run):
    source = os.path.join(HELPERS, "program.cpp")
    with tempfile.TemporaryFile() as out:
        process = run.start(["g++", "-std=c++17", "-O1", "-g", "-Wall", "-o", "program", source], run.env(at_exit=True),
                            stdout=out, stderr=out)
        run.snap_descendants(process, "cc1plus")
        process.wait(PATIENCE)
        out.seek(0)
        run.say("compile", process.returncode, out.read())
    with open(os.path.join(run.work, "program"), "rb") as file:
        run.say("program", hashlib.sha256(file.read()).hexdigest())
    run.run("use", ["./program", "a", "b"])
    run.run("error", ["g++", "-fsyntax-only", "-x", "c++", "-"], stdin=b"int main() { return unknown; }\n")


def git(run):
    env = run.env(at_exit=True, GIT_CONFIG_NOSYSTEM="1", GIT_AUTHOR_NAME="a", GIT_AUTHOR_EMAIL="a@example.org",
                  GIT_COMMITTER_NAME="a", GIT_COMMITTER_EMAIL="a@example.org", GIT_AUTHOR_DATE="2020-01-01T00:00:00Z",
                  GIT_COMMITTER_DATE="2020-01-01T00:00:00Z", GIT_PAGER="cat")
    run.run("init", ["git", "init", "-q", "-b", "main", "repository"], env)
    where = os.path.join(run.work, "repository")
    for n in range(3):
        for i in range(60):
            with open(os.path.join(where, f"file{i}"), "w") as file:
                file.write("".join(f"line {j} of {i} in {n}\n" for j in range(400)))
        run.run(f"add {n}", ["git", "add", "."], env, cwd=where)
        run.run(f"commit {n}", ["git", "commit", "-q", "-m", f"commit {n}"], env, cwd=where)
    run.run("log", ["git", "log", "--stat", "-p"], env, cwd=where)
    run.run("gc", ["git", "gc", "-q"], env, cwd=where)
    run.run("fsck", ["git", "fsck", "--full", "--no-progress"], env, cwd=where)
    run.run("clone", ["git", "clone", "-q", "--no-local", where, "copy"], env)
    run.run("head", ["git", "rev-parse", "HEAD"], env, cwd=os.path.join(run.work, "copy"))
    run.run("failure", ["git", "show", "nonsense"], env, cwd=where)


def text(megabytes):
    return b"".join(b"%d: the quick brown fox jumps over %d lazy dogs\n" % (i, i * i % 977)
                    for i in range(megabytes * 20000))


def filters(run):
    """Programs that read, work and write; each leaves a snapshot at its end."""
    data = text(4)
    env = run.env(at_exit=True)
    packed = run.run("xz", ["xz", "-T2", "--block-size=500KiB", "-c"], env, stdin=data)
    run.run("unxz", ["xz", "-dc"], env, stdin=packed)
    os.makedirs(os.path.join(run.work, "tree"))
    for i in range(50):
        path = os.path.join(run.work, "tree", f"f{i}")
        with open(path, "wb") as file:
            file.write(data[i * 1000:i * 3000])
        os.utime(path, (0, 0))
    run.run("tar", ["tar", "--sort=name", "--mtime=@0", "-cz", "tree"], env)
    run.run("openssl", ["openssl", "dgst", "-sha3-256"], env, stdin=data)
    run.run("openssl refuses", ["openssl", "pkey", "-text", "-noout"], env, stdin=b"nonsense")
    run.run("bash", ["bash", "-c", "a=(); for i in {1..20000}; do a+=(word$i); done; echo ${#a[@]} $(echo sub | rev);"
                     "( exit 3 ); echo $?; printf '%s\\n' ${a[@]} | sort | md5sum; kill -TERM $$"], env)
    run.run("awk", ["awk", "{ n[$9]++ } END { print length(n) }"], env, stdin=data)
    run.run("sort", ["sort", "--parallel=2", "-S", "1M", "-k9n"], env, stdin=data)
    run.run("curl", ["curl", "-sS", "file://" + os.path.join(run.work, "tree/f3")], env)
    run.run("curl refused", ["curl", "-sS", f"http://127.0.0.1:{run.port}/"], env)
