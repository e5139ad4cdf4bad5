"""In the guest: carries out the plan over as many boots as it needs, then powers off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
PLAN = json.loads((HERE / "plan.json").read_text())
KEPT = Path("/var/lib/guest")
RESULTS = KEPT / "results"
DONE = KEPT / "done"
PYTHON = "/opt/tango/bin/python"
ENV = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "TANGO_REQUIRE_CGROUP_V2": "1",
}


def say(text: str) -> None:
    print(f"@guest {text}", flush=True)


def run(*argv: str, limit_s: float = 600.0) -> int:
    """Its output goes to the results; the exit status, 124 where its time was up."""
    with (RESULTS / "log.txt").open("ab") as log:
        log.write(f"\n$ {' '.join(argv)}\n".encode())
        log.flush()
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENV, timeout=limit_s
            )
        except subprocess.TimeoutExpired:
            say(f"{' '.join(argv[:4])} took more than {limit_s:.0f} s")
            return 124
        return done.returncode


def facts() -> None:
    text = subprocess.run(
        ["systemctl", "--version"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()[0]
    kernel = os.uname().release
    controllers = Path("/sys/fs/cgroup/cgroup.controllers").read_text().strip()
    say(f"Linux {kernel}, {text}, controllers {controllers}")
    (RESULTS / "facts.json").write_text(
        json.dumps({"kernel": kernel, "systemd": text, "controllers": controllers})
    )


def install() -> None:
    (wheel,) = (HERE / "wheel").glob("*.whl")
    say(f"installing {wheel.name}")
    if run(PYTHON, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel)):
        raise SystemExit("the wheel cannot be installed")


def pytest(name: str, *words: str, prefix: tuple[str, ...] = (), limit_s: float = 1200.0) -> int:
    argv = [*prefix, PYTHON, "-m", "pytest", "-q", "-c", f"{HERE}/pyproject.toml"]
    # Emulated processors are slow: only the limit of the whole run counts.
    argv += [f"--rootdir={HERE}", f"--junitxml={RESULTS}/{name}.xml", "--timeout=0"]
    argv += ["--durations=5", *words]
    if PLAN["only"]:
        argv += ["-k", PLAN["only"]]
    started = time.monotonic()
    status = run(*argv, limit_s=limit_s)
    say(f"{name}: pytest ended with {status} after {time.monotonic() - started:.0f} s")
    log = (RESULTS / "log.txt").read_text(errors="replace").splitlines()
    for line in [line for line in log[-60:] if line.startswith(("FAILED", "ERROR"))]:
        say(line[:300])
    return status


def contract() -> None:
    """The Cgroups suite in a unit with a delegated subtree of its own."""
    say("contract: the Cgroups suite on this kernel")
    unit = ["systemd-run", "--unit=tango-contract", "--slice=tango.slice", "--pipe", "--wait"]
    unit += ["--quiet", "--collect", "--property=Delegate=yes", "--property=KillMode=mixed"]
    unit += [f"--setenv={key}={value}" for key, value in ENV.items()]
    names = ("test_cgroups", "test_cgroup_v2_kernel", "test_cgroup_versions", "test_cgroup_detect")
    files = [f"{HERE}/tests/contract/{name}.py" for name in names]
    pytest("contract", *files, prefix=tuple(unit))


def checkpoint() -> None:
    """CRIU between two supervisors, then a whole site."""
    say("checkpoint: CRIU on this kernel")
    pytest("checkpoint", f"{HERE}/test_checkpoint.py")
    pytest("migrate", f"{HERE}/test_migrate.py", limit_s=2400.0)


def units() -> None:
    say("systemd: install, restart, kill -9, upgrade")
    # An emulated machine that shares its cores is up to 100 times slower than a real one.
    slow = Path("/etc/systemd/system/tango-.service.d")
    slow.mkdir(exist_ok=True)
    (slow / "guest.conf").write_text("[Service]\nTimeoutStartSec=900\nWatchdogSec=60\n")
    # A worker takes half a minute to start here, not one second: that is no dead node.
    patience = {"edge": "node_dead_after_s = 300", "central": "node_lost_after_s = 300"}
    Path("/etc/tango").mkdir(exist_ok=True)
    for daemon, line in patience.items():
        shipped = (HERE / "systemd" / "etc" / f"{daemon}.toml").read_text()
        Path(f"/etc/tango/{daemon}.toml").write_text(f"{shipped}{line}\n")
    pytest("units", f"{HERE}/test_units.py", limit_s=2400.0)


def reboot() -> None:
    say("rebooting")
    # The plan goes on with the next boot; nothing here may come after.
    run("systemctl", "reboot")
    time.sleep(300)
    raise SystemExit("the guest did not reboot")


def after_reboot() -> None:
    say("systemd: after the reboot")
    pytest("reboot", f"{HERE}/test_reboot.py", limit_s=900.0)


STEPS = {
    "contract": (facts, install, contract),
    "checkpoint": (facts, install, checkpoint),
    "systemd": (facts, install, units, reboot, after_reboot),
}


def pack() -> None:
    """The results onto their disk, as a tar."""
    journal = ["journalctl", "--no-pager", "-o", "short-monotonic", "-u", "tango-*"]
    with (RESULTS / "journal.txt").open("wb") as file:
        subprocess.run(journal, stdout=file, stderr=file, timeout=120)
    names = sorted(path.name for path in RESULTS.iterdir())
    disk = os.path.realpath("/dev/disk/by-id/virtio-results")
    subprocess.run(["tar", "-C", str(RESULTS), "-cf", disk, *names], check=True, timeout=120)
    os.sync()


def main() -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    DONE.mkdir(exist_ok=True)
    booted_s = float(Path("/proc/uptime").read_text().split()[0])
    say(f"up after {booted_s:.0f} s")
    steps = list(dict.fromkeys(step for suite in PLAN["suites"] for step in STEPS[suite]))
    for step in steps:
        mark = DONE / step.__name__
        if mark.exists():
            continue
        mark.touch()  # before, so that a step that reboots is not taken twice
        os.sync()
        step()


if __name__ == "__main__":
    try:
        main()
    except SystemExit as stopped:
        say(f"stopped: {stopped}")
    except Exception as error:  # noqa: BLE001 (the results are wanted whatever happened)
        say(f"stopped: {error!r}")
    pack()
    say("done")
    subprocess.run(["systemctl", "poweroff", "--no-block"], timeout=60)
    sys.exit(0)
