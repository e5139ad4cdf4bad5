"""The supervisor starts real programs: once, as asked, with their output and true exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor_process import PATH, Connection, Supervisor, eventually, output, supervised

from tango.supervisor.spawn import Inherited, go, spawn
from tango.supervisor.spec import StartSpec

ROOT = os.geteuid() == 0
AS_PYTHON = (sys.executable, "-S", "-c")


@pytest.fixture(scope="module")
def shared() -> Iterator[Supervisor]:
    with supervised() as supervisor:
        yield supervisor


@pytest.fixture
def client(shared: Supervisor) -> Iterator[Connection]:
    connection = shared.connect()
    connection.ok("subscribe")
    yield connection
    connection.close()


def test_hello_names_version_process_boot_and_incarnation(shared, client):
    reply = client.ok("hello")
    assert reply["version"] == 1
    assert reply["pid"] == shared.pid
    assert reply["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert reply["state_dir"] == str(shared.state)
    assert abs(reply["started_at"] - time.time()) < 60


def test_exit_code_output_and_usage(client):
    burn = (
        "import sys; sum(range(3000000)); print('out'); print('err', file=sys.stderr); sys.exit(3)"
    )
    started = client.start("code-1", *AS_PYTHON, burn)
    assert started["state"] == "running"
    assert client.event("started", "code-1")["pid"] == started["pid"]
    ended = client.event("exited", "code-1")
    assert (ended["exit_code"], ended["signal"], ended["reason"]) == (3, None, "exited")
    assert ended["state"] == "ended"
    assert ended["leftover"] == 0
    assert 0.01 < ended["cpu_s"] < 5
    assert ended["max_rss_bytes"] > 5_000_000
    assert ended["started_at"] <= ended["ended_at"] <= time.time()
    assert sorted(output(ended).split()) == ["err", "out"]


def test_death_by_signal(client):
    client.start("signal-1", "sh", "-c", "kill -SEGV $$")
    ended = client.event("exited", "signal-1")
    assert (ended["exit_code"], ended["signal"]) == (None, signal.SIGSEGV)
    assert ended["reason"] == "signalled"


def test_a_key_runs_once(shared, client, tmp_path):
    mark = tmp_path / "mark"
    argv = ("sh", "-c", f"echo x >> {mark}; sleep 0.1")
    numbers = [client.send("start", key="once-1", argv=argv, env={"PATH": PATH}) for _ in range(3)]
    first, *others = [client.wait(number) for number in numbers]
    assert first["duplicate"] is False
    for reply in others:
        assert reply["duplicate"] is True
        assert reply["record"]["pid"] == first["record"]["pid"]
    client.event("exited", "once-1")
    again = client.call("start", key="once-1", argv=argv, env={})
    assert again["duplicate"] is True
    assert again["record"]["state"] == "ended"
    assert client.ok("ack", key="once-1")["duplicate"] is False
    assert client.ok("ack", key="once-1")["duplicate"] is True
    assert "once-1" not in client.records()
    assert client.call("start", key="once-1", argv=argv, env={})["code"] == "GONE"
    assert client.call("stop", key="once-1")["code"] == "GONE"
    assert mark.read_text() == "x\n"


def broken(tmp_path: Path) -> Iterator[tuple[list[str], dict[str, object], str, str, str]]:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    plain = tmp_path / "plain"
    plain.write_text("just text\n")
    plain.chmod(0o644)
    text = tmp_path / "text"
    text.write_text("just text\n")
    text.chmod(0o755)
    missing = "/sys/fs/cgroup/no-such-group/cgroup.procs"
    yield ["no-such-tool"], {}, "exec", "argv[0]", "'no-such-tool' not found in PATH"
    yield ["/no/such/tool"], {}, "exec", "argv[0]", "'/no/such/tool' does not exist"
    yield [str(script)], {}, "exec", "argv[0]", "the interpreter in its first line"
    yield [str(plain)], {}, "exec", "argv[0]", "is not executable"
    yield [str(text)], {}, "exec", "argv[0]", "neither a program for this machine nor a script"
    yield ["/tmp"], {}, "exec", "argv[0]", "is a directory"
    yield ["true"], {"cwd": "/no/such/place"}, "cwd", "cwd", "'/no/such/place'"
    yield (
        ["true"],
        {"procs_files": [missing]},
        "cgroup",
        "procs_files[0]",
        f"'{missing}': the group does not exist",
    )
    yield (
        ["true"],
        {"rlimits": {"nofile": 2**31}},
        "rlimit",
        "rlimits.nofile",
        "cannot set 2147483648",
    )


def test_what_cannot_begin_says_why_and_leaves_nothing(shared, client, tmp_path):
    for argv, extra, step, field, text in broken(tmp_path):
        reply = client.call("start", key="broken-1", argv=argv, env={"PATH": PATH}, **extra)
        assert reply["code"] == "SPAWN_FAILED", reply
        assert (reply["step"], reply["field"]) == (step, field)
        assert text in reply["error"]
        assert reply["error"].startswith(f"{field}: ")
        assert reply["errno"] > 0 or step == "rlimit"
        assert "broken-1" not in client.records()
        assert not list(shared.state.glob("*/broken-1*"))
    # Nothing ran, so the same key may be tried again.
    client.start("broken-1", "true")
    assert client.event("exited", "broken-1")["exit_code"] == 0


def test_environment_is_complete_and_kept_off_the_disk(shared, client):
    secret = "s3cret-71f0"
    record = client.start("env-1", "sh", "-c", "env; sleep 30", env={"PATH": PATH, "TOKEN": secret})
    wanted = {f"PATH={PATH}", f"TOKEN={secret}", "TANGO_ATTEMPT=env-1"}
    eventually(lambda: wanted <= set(output(record).splitlines()))
    Path(record["log"]).unlink()  # the program itself told its log
    assert secret not in json.dumps(client.records())
    assert secret not in shared.diagnostics()
    found = subprocess.run(["grep", "-rl", secret, str(shared.state), "--exclude-dir=pipes"])
    assert found.returncode == 1
    shell_adds = {"PWD", "SHLVL", "_", "OLDPWD"}
    environ = Path(f"/proc/{record['pid']}/environ").read_text().split("\0")
    assert {each.split("=")[0] for each in environ if each} - shell_adds == {
        "PATH",
        "TOKEN",
        "TANGO_ATTEMPT",
    }
    client.ok("stop", key="env-1", grace_s=0)
    client.event("exited", "env-1")


LOOK = """
import json, os, resource, signal
fds = {}
for name in os.listdir("/proc/self/fd"):
    try:
        fds[name] = os.readlink(f"/proc/self/fd/{name}")
    except FileNotFoundError:
        pass
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines()
              if ":\\t" in line)
old = os.umask(0)
autogroup = "/proc/self/autogroup"
print(json.dumps({
    "fds": fds,
    "sid": os.getsid(0),
    "pid": os.getpid(),
    "cwd": os.getcwd(),
    "umask": old,
    "ignored": status["SigIgn"],
    "blocked": status["SigBlk"],
    "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "policy": os.sched_getscheduler(0),
    "oom": int(open("/proc/self/oom_score_adj").read()),
    "autogroup": open(autogroup).read() if os.path.exists(autogroup) else "",
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
}))
"""


def seen(client: Connection, key: str, **fields: object) -> dict[str, object]:
    client.start(key, "/usr/bin/env", sys.executable, "-S", "-c", LOOK, **fields)
    ended = client.event("exited", key)
    assert ended["exit_code"] == 0, output(ended)
    return json.loads(output(ended))


def test_a_fresh_process(shared, client):
    look = seen(client, "fresh-1")
    opened = {name: path for name, path in look["fds"].items() if not path.startswith("/proc/")}
    pipe = str(shared.state / "pipes/fresh-1")
    assert opened == {"0": "/dev/null", "1": pipe, "2": pipe}
    assert look["sid"] == look["pid"]
    assert look["cwd"] == "/"
    assert look["umask"] == 0o022
    assert int(look["blocked"], 16) == 0
    # Python itself ignores SIGPIPE (13) and SIGXFSZ (25); nothing else comes from the supervisor.
    assert int(look["ignored"], 16) == (1 << 12) | (1 << 24)
    soft, _ = subprocess.run(
        [sys.executable, "-c", "import resource as r; print(*r.getrlimit(r.RLIMIT_NOFILE))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert look["nofile"][0] == int(soft)


def test_priority_limits_and_oom_score(client, tmp_path):
    look = seen(
        client,
        "low-1",
        nice=7,
        sched_idle=True,
        autogroup_nice=9,
        oom_score_adj=900,
        cwd=str(tmp_path),
        rlimits={"nofile": 128, "core": 0},
    )
    assert look["nice"] == 7
    assert look["policy"] == os.SCHED_IDLE
    assert look["oom"] == 900
    assert look["cwd"] == str(tmp_path)
    assert look["nofile"] == [128, 128]
    assert look["core"] == [0, 0]
    assert look["autogroup"] == "" or look["autogroup"].split()[-1] == "9"


@pytest.mark.skipif(not ROOT, reason="only root can become another user")
def test_user_and_groups(client):
    client.start(
        "user-1", "sh", "-c", "id -u; id -G; echo again >> /dev/stdout", uid=65534, gid=65533
    )
    assert output(client.event("exited", "user-1")).split() == ["65534", "65533", "again"]


@pytest.mark.skipif(not ROOT, reason="only root can become another user")
def test_another_user_gains_no_privileges_by_exec(client):
    """no_new_privs: setuid programs, as sudo is one, stay what their caller is."""
    look = "grep -E 'NoNewPrivs|CapEff' /proc/self/status"
    client.start("user-2", "sh", "-c", look, uid=65534, gid=65533)
    found = dict(line.split() for line in output(client.event("exited", "user-2")).splitlines())
    assert found == {"NoNewPrivs:": "1", "CapEff:": "0" * 16}
    client.start("user-3", "sh", "-c", look)
    found = dict(line.split() for line in output(client.event("exited", "user-3")).splitlines())
    own = Path("/proc/self/status").read_text()
    assert found["NoNewPrivs:"] == own.partition("NoNewPrivs:")[2].split()[0]


def test_a_child_whose_supervisor_died_before_the_record_never_becomes_the_program(tmp_path):
    mark = tmp_path / "mark"
    argv = ["/usr/bin/touch", str(mark)]
    spec = StartSpec({"key": "early-1", "argv": argv, "env": {}})
    null = os.open("/dev/null", os.O_RDWR)
    try:
        for word in (False, True):
            pid, channel = spawn(spec, null, Inherited())
            if word:
                go(channel)
                channel.setblocking(True)
                assert channel.recv(100) == b""
            channel.close()
            _, status = os.waitpid(pid, 0)
            # No exit code that could pass for the program's own.
            assert os.waitstatus_to_exitcode(status) == (0 if word else -signal.SIGKILL)
            assert mark.exists() is word
    finally:
        os.close(null)


def test_a_log_stays_within_its_bounds(client):
    count = 40_000
    client.start(
        "spew-1",
        *AS_PYTHON,
        f"import sys\nfor n in range({count}): sys.stdout.write(f'line {{n:012d}}\\n')",
        log={"max_bytes": 65536, "files": 3},
    )
    record = client.event("exited", "spew-1")
    files = [Path(record["log"]), *(Path(f"{record['log']}.{n}") for n in (1, 2))]
    assert all(0 < each.stat().st_size <= 65536 for each in files)
    assert not Path(f"{record['log']}.3").exists()
    lines = "".join(each.read_text() for each in reversed(files)).splitlines()
    # The newest lines, in order, none torn.
    assert lines == [f"line {n:012d}" for n in range(count - len(lines), count)]
    assert record["log_lost_bytes"] == 0


def test_a_spewing_program_does_not_starve_the_others(client):
    client.start("yes-1", "yes", log={"max_bytes": 4096, "files": 1})
    time.sleep(0.1)
    waits = []
    for _ in range(50):
        begin = time.monotonic()
        client.ok("hello")
        waits.append(time.monotonic() - begin)
    assert sorted(waits)[25] < 0.05
    client.ok("stop", key="yes-1", grace_s=0)
    client.event("exited", "yes-1")


def test_an_acknowledged_log_is_kept_or_deleted_as_asked(client):
    for key, keep_log in (("keep-1", True), ("drop-1", False)):
        client.start(key, "echo", "hi")
        record = client.event("exited", key)
        client.ok("ack", key=key, keep_log=keep_log)
        assert Path(record["log"]).exists() is keep_log


def test_a_log_that_was_kept_goes_when_that_is_asked_for(client):
    client.start("kept-1", "echo", "hi")
    record = client.event("exited", "kept-1")
    client.ok("ack", key="kept-1", keep_log=True)
    assert client.ok("ack", key="kept-1", keep_log=False)["duplicate"] is True
    assert not Path(record["log"]).exists()


def test_the_first_process_may_leave_the_output_open(client):
    """A daemon that keeps the pipe open must not delay the end; without a group it is found too."""
    client.start("open-1", "sh", "-c", "setsid sleep 60 & echo done")
    ended = client.event("exited", "open-1")
    assert ended["ended_at"] - ended["started_at"] < 5
    assert output(ended) == "done\n"


def test_resident_memory_is_small(shared, client):
    client.start("rss-1", "true")
    client.event("exited", "rss-1")
    lines = Path(f"/proc/{shared.pid}/status").read_text().splitlines()
    (resident,) = [line.split()[1] for line in lines if line.startswith("VmRSS")]
    assert int(resident) < 20 * 1024
