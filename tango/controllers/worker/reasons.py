"""Sentences for people on why a process ended or is not ready."""

from __future__ import annotations

from tango.model.process import ProcessRecord

NODE_SHUT_DOWN = "its node was shut down"


def describe_end(record: ProcessRecord, *, out_of_memory: bool = False) -> str:
    """How a process ended: "exited with code 1", "killed by signal 9 (out of memory)"."""
    if record.signal:
        cause = " (out of memory)" if out_of_memory else ""
        return f"killed by signal {record.signal}{cause}"
    if record.exit_code is not None:
        cause = " after the kernel killed a process of it (out of memory)" if out_of_memory else ""
        return f"exited with code {record.exit_code}{cause}"
    return "ended unseen: its exit code is lost"


def deadline_exceeded(deadline_s: float) -> str:
    """A task ran longer than it may."""
    return f"deadline of {deadline_s:g} s exceeded"


def not_healthy_in_time(start_timeout_s: float, error: str) -> str:
    """A replica's start has failed."""
    return f"did not become healthy within {start_timeout_s:g} s: {error or 'no answer'}"


def unhealthy(failures: int, error: str) -> str:
    """A ready replica stopped answering its health check."""
    return f"health check failed {failures} times in a row: {error or 'no answer'}"


def stretch_warning(cpu_per_request_millis: int, factor: float) -> str:
    """What a quota below one core does to a single-threaded request."""
    quota = f"cpu_per_request {cpu_per_request_millis}m with quota: follow"
    return f"{quota} stretches each request {factor:.1f} times"
