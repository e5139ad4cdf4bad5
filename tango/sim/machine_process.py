"""A process of a pretended machine, and the requests that a replica has."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tango.sim.loads import SimService


class Job:
    """A request at a replica. done: told of its end, True where it was served."""

    __slots__ = ("cpu_s", "done", "request_id", "runs")

    def __init__(self, request_id: str, cpu_s: float, done: Callable[[str, bool], None]) -> None:
        self.request_id = request_id
        self.cpu_s = cpu_s
        self.done = done
        self.runs = False


class Process:
    """One that runs. jobs: requests that it has, waiting: those beyond its threads, in order."""

    __slots__ = (
        "group", "jobs", "key", "memory_bytes", "port", "ready_at", "request_bytes", "runs",
        "service", "waiting",
    )  # fmt: skip

    def __init__(self, key: str, group: str, port: int) -> None:
        self.key = key
        self.group = group
        self.port = port
        self.service: SimService | None = None
        self.ready_at = 0.0
        self.memory_bytes = 0
        self.request_bytes = 0
        self.runs = False
        self.jobs: dict[str, Job] = {}
        self.waiting: deque[Job] = deque()
