"""An embedded cluster: every daemon its own process on this machine; started and stopped whole."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import random
import secrets
import signal
import socket
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from tango.adapters.cgroup_detect import detect
from tango.model.cgroup import GroupTarget
from tango.model.errors import AlreadyExists, InvalidField
from tango.sdk.cluster_file import FILE, ClusterFile, read_cluster_file, write_cluster_file
from tango.sdk.embedded_plan import (
    CHECKPOINTS,
    EmbeddedPlan,
    central_toml,
    edge_toml,
    journal_toml,
    marked,
    plan_nodes,
    worker_toml,
)
from tango.sdk.embedded_ready import wait_masters, wait_nodes
from tango.sdk.processes import (
    Member,
    daemons_of,
    end_members,
    how_ended,
    supervisor_shutdown,
)

PIDS = "processes.json"
# Of a daemon's log from its earlier starts; the file before it is kept as well.
LOG_MAX_BYTES = 8 * 2**20
FIRST_PORT = 10_000
EPHEMERAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


class EmbeddedCluster:
    """One cluster in one state directory.

    `start` returns when every daemon serves and all nodes are known to their edge and to central;
    `stop` leaves no process, control group, socket or token behind, also when daemons were killed
    before. Stores and logs stay in the directory.
    """

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir.resolve()

    @property
    def cgroup_root(self) -> str:
        """Its own group, named after the state directory so that two clusters never meet."""
        digest = hashlib.sha256(str(self.state_dir).encode()).hexdigest()[:8]
        return f"tango-{digest}"

    def token(self) -> str:
        """The secret of the cluster that runs here, a new one at each start; "" for none."""
        try:
            return (self.state_dir / "token").read_text()
        except FileNotFoundError:
            return ""

    @property
    def is_ours(self) -> bool:
        """Whether a cluster was started here, and not stopped since, whatever of it still runs."""
        return (self.state_dir / PIDS).exists()

    # ---- start

    def start(
        self,
        *,
        sites: int = 2,
        workers_per_site: int = 1,
        reserve_millis: int = 700,
        record: Path | None = None,
        plan: EmbeddedPlan | None = None,
        batch_policy: str = "",
        rest_port: int | None = None,
        labels: Sequence[str] = (),
        taints: Sequence[str] = (),
    ) -> EmbeddedPlan:
        """Start everything. Raises AlreadyExists, or TangoError with the words of a daemon.

        plan: nodes laid out by the caller; the numbers before it say nothing then.
        record: every daemon records itself there, and logs its decisions beside (docs/replay.md).
        batch_policy: by which jobs are placed (docs/batch.md), "" for the default one.
        rest_port: of central's REST face on 127.0.0.1, 0 for a free one; None for no such face.
        labels, taints: of nodes: "a1:zone=west", "b1:gpu=true:NoSchedule".
        """
        if rest_port is not None and importlib.util.find_spec("aiohttp") is None:
            fix = "install the extra `rest` (in a clone: pip install '.[rest]')"
            raise InvalidField("--rest", "needs aiohttp, which is not installed", fix)
        plan = plan or plan_nodes(
            sites=sites,
            workers_per_site=workers_per_site,
            cores=sorted(os.sched_getaffinity(0)),
            memory_bytes=_available_memory(),
            reserve_millis=reserve_millis,
        )
        if labels or taints:
            plan = marked(plan, labels, taints)
        _make_private(self.state_dir, "--state")
        if record is not None:
            record = record.resolve()
            _make_private(record, "--record")
        with self._lock():
            if any(member.alive() for member in self._members()):
                raise AlreadyExists(
                    f"a cluster already runs in {self.state_dir}: `tango down` stops it, "
                    "`--state` names another place"
                )
            self._clean()
            try:
                self._start(plan, record, batch_policy, rest_port)
            except BaseException:
                self._stop(grace_s=2.0)
                raise
        return plan

    def _start(
        self, plan: EmbeddedPlan, record: Path | None, batch_policy: str, rest_port: int | None
    ) -> None:
        # First of all: it says that what is in this directory is ours to end and to remove.
        self._save([])
        token = self.state_dir / "token"
        handle = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(32))
        self._make_root_group(plan.weight)
        configs = self.state_dir / "configs"
        logs = self.state_dir / "logs"
        for directory in (configs, logs, self.state_dir / CHECKPOINTS):
            directory.mkdir(mode=0o700, exist_ok=True)
        ports = _free_ports(2 * (1 + len(plan.sites) + len(plan.nodes)) + 1)
        rest = "" if rest_port is None else f"127.0.0.1:{rest_port or next(ports)}"
        central_port = next(ports)
        central = f"127.0.0.1:{central_port}"
        edges = {site: next(ports) for site in plan.sites}
        text = central_toml(self.state_dir, central_port, next(ports), batch_policy, rest)
        files = [("central", "central", text)]
        for site, port in edges.items():
            peers = {name: f"127.0.0.1:{at}" for name, at in edges.items() if name != site}
            text = edge_toml(self.state_dir, site, port, next(ports), central, peers)
            files.append(("edge", site, text))
        for node in plan.nodes:
            text = worker_toml(
                self.state_dir,
                node,
                next(ports),
                next(ports),
                f"127.0.0.1:{edges[node.site]}",
                self.cgroup_root,
            )
            files.append(("worker", f"node-{node.name}", text))
        members = []
        for kind, name, text in files:
            config = configs / f"{name}.toml"
            config.touch(mode=0o600)
            if record is not None:
                text += journal_toml(record, kind, name)
            config.write_text(text)
            members.append(_spawn(kind, name, config, logs / f"{name}.log"))
            self._save(members)
        masters = [central, *(f"127.0.0.1:{port}" for port in edges.values())]
        wait_masters(self.state_dir, members, masters)
        write_cluster_file(
            self.state_dir,
            ClusterFile(
                central,
                tuple((site, f"127.0.0.1:{port}") for site, port in edges.items()),
                str(token),
                rest=f"http://{rest}" if rest else "",
            ),
        )
        wait_nodes(self.state_dir, members, {node.name for node in plan.nodes})

    def _make_root_group(self, weight: int) -> None:
        found = detect(self.cgroup_root)
        if found.cgroups is None:
            return
        with found.cgroups as cgroups:
            cgroups.create("")
            cgroups.apply("", GroupTarget(weight=weight))

    # ---- stop

    def stop(self, *, grace_s: float = 7.0) -> bool:
        """Stop everything and clean up; False if nothing was there."""
        if not self.state_dir.is_dir():
            return False
        with self._lock():
            # Without it these are somebody's own daemons, with a token of his own.
            if not self.is_ours:
                return False
            self._stop(grace_s=grace_s)
        return True

    def _stop(self, *, grace_s: float) -> None:
        found = [*daemons_of(self.state_dir / "configs"), *self._members()]
        # Each of them once: a second TERM would cut its drain short.
        members = list({(member.pid, member.start_time): member for member in found}.values())
        # Workers first: one that lives would start its supervisor again.
        end_members([m for m in members if m.kind == "worker"], grace_s)
        for directory in sorted(self.state_dir.glob("node-*")):
            supervisor_shutdown(directory, grace_s)
        end_members([m for m in members if m.kind != "worker"], grace_s)
        self._clean()

    def _clean(self) -> None:
        self._remove_groups()
        for name in (FILE, "token", PIDS):
            (self.state_dir / name).unlink(missing_ok=True)

    def _remove_groups(self) -> None:
        found = detect(self.cgroup_root)
        if found.cgroups is None:
            return
        with found.cgroups as cgroups:
            end = time.monotonic() + 5.0
            while True:
                cgroups.kill("")
                try:
                    cgroups.remove("")
                except OSError:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.02)
                else:
                    return

    def gone(self) -> dict[str, str]:
        """How each daemon ended that has, by name: "was killed by signal 9"."""
        return {member.name: how_ended(member) for member in self._members() if not member.alive()}

    def revive(self, names: Collection[str] = ()) -> tuple[str, ...]:
        """Start daemons again that have ended, all of them where no names are given.

        Returns the names of those started. What they ran, stored and promised is found again.
        """
        if not self.state_dir.is_dir():
            return ()
        with self._lock():
            members = self._members()
            started = []
            for index, member in enumerate(members):
                if member.alive() or (names and member.name not in names):
                    continue
                config = self.state_dir / "configs" / f"{member.name}.toml"
                members[index] = _spawn(member.kind, member.name, config, Path(member.log))
                started.append(member.name)
            if started:
                self._save(members)
        return tuple(started)

    def wait_ready(self) -> None:
        """Return when every daemon serves, as `start` does. Raises TangoError where one does not.

        For those that `revive` started, which returns at once.
        """
        members = self._members()
        known = read_cluster_file(self.state_dir)
        masters = [known.central, *(address for _, address in known.edges)]
        wait_masters(self.state_dir, members, masters)
        nodes = {member.name for member in members if member.kind == "worker"}
        wait_nodes(self.state_dir, members, {name.removeprefix("node-") for name in nodes})

    def daemons_cpu_s(self) -> float:
        """CPU seconds that the daemons which live have used; their payload's are not in it."""
        return sum(member.cpu_s() for member in self._members())

    # ---- bookkeeping

    def _members(self) -> list[Member]:
        try:
            data = json.loads((self.state_dir / PIDS).read_text())
        except (OSError, ValueError):
            return []
        return [Member(**item) for item in data]

    def _save(self, members: list[Member]) -> None:
        partial = self.state_dir / f"{PIDS}.new"
        partial.touch(mode=0o600)
        partial.write_text(json.dumps([member.to_dict() for member in members]))
        partial.replace(self.state_dir / PIDS)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        path = self.state_dir / "lock"
        path.touch(mode=0o600)
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise AlreadyExists(
                    f"another `tango up` or `tango down` works on {self.state_dir} right now"
                ) from None
            yield


def _make_private(folder: Path, option: str) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot make {folder}: {error.strerror}"
        raise InvalidField(option, problem, "name a directory of your own") from None


def _spawn(kind: str, name: str, config: Path, log: Path) -> Member:
    """Start a daemon that outlives this process: no handle to it is kept but its pid."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_MAX_BYTES:
            log.replace(log.with_suffix(".log.1"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", "tango.daemons", kind, "-c", str(config)],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        # Its own session: a Ctrl-C at the terminal is for `up`, which then stops all in order.
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
    )
    return Member.of(kind, name, pid, str(log))


def _free_ports(count: int) -> Iterator[int]:
    """Ports that nobody has now, below those that the kernel gives to outgoing connections.

    Else one of these might take a port before its daemon binds it, or while it is restarted. Where
    the kernel's range begins too low for that, its own choice has to do.
    """
    lowest_ephemeral = int(EPHEMERAL_PORTS.read_text().split()[0])
    candidates = list(range(FIRST_PORT, lowest_ephemeral))
    random.SystemRandom().shuffle(candidates)
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        for port in [*candidates, *[0] * count]:
            if len(ports) == count:
                break
            sock = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                sock.bind(("127.0.0.1", port))
                ports.append(sock.getsockname()[1])
    return iter(ports)


def _available_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
