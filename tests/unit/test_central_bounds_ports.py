"""Tasks with bounds and backups that have fixed ports: kept for backups, too, and never twice."""

from __future__ import annotations

from dataclasses import replace

from central_bench import Bench, ended, running
from test_central_bounds import (
    RULE,
    TRIPS_A,
    again,
    at,
    die,
    job,
    place,
    submit,
    task,
    tell,
    two_sites,
    up,
)

from tango.model.job import JobSpec, JobState


def serves(*ports: int, backup: bool = True, ms: float = 3.0, node: str = "") -> JobSpec:
    spec = task(near="a1", ms=ms, backup=backup, cpu=100)
    return job(replace(spec, ports=ports or (9090,), node=node))


def plain(*ports: int, node: str = "") -> JobSpec:
    return job(replace(task(cpu=100), ports=ports or (9090,), node=node))


def kept_ports(bench: Bench) -> dict[str, tuple[int, ...]]:
    return {
        f"{site.edge}/{view.node}": view.reserved_ports
        for site in bench.central.edge_views()
        for view in site.nodes
        if view.reserved_ports
    }


def backup(bench: Bench, job_id: str = "j1") -> str:
    return bench.job(job_id).tasks[0].backup


def test_the_backup_keeps_the_port_and_nobody_else_gets_it() -> None:
    bench = two_sites()
    submit(bench, "j1", serves())
    assert (place(bench), backup(bench)) == ("a/a1", "a/a2")
    assert kept_ports(bench) == {"a/a2": (9090,)}
    submit(bench, "j2", plain())
    assert place(bench, "j2") == "b/b1"
    submit(bench, "j3", plain())
    assert bench.state("j3") is JobState.PENDING
    submit(bench, "j4", serves())
    assert bench.state("j4") is JobState.PENDING
    assert "port 9090 is taken" in bench.job("j4").reason
    # All is as it was after a crash, from the first moment.
    crashed = again(bench)
    submit(crashed, "j5", plain(node="a2"))
    up(crashed)
    crashed.advance(0.2)
    assert crashed.state("j5") is JobState.PENDING
    assert kept_ports(crashed) == {"a/a2": (9090,)}


def test_its_node_fails_and_it_runs_on_the_port_of_its_backup() -> None:
    bench = two_sites()
    submit(bench, "j1", serves())
    bench.status(running("j1.0.1"))
    die(bench)
    bench.advance(1.0)
    assert place(bench) == "a/a2"
    assert bench.starts() == ["j1.0.1", "j1.0.2"]
    assert kept_ports(bench) == {}


def test_where_a_port_is_taken_the_task_and_its_backup_go_elsewhere() -> None:
    bench = two_sites()
    tell(bench, at("a1", lc_ports=(9090,)), at("a2"))
    submit(bench, "j1", serves(ms=20))
    assert {place(bench), backup(bench)} == {"a/a2", "b/b1"}
    # Somebody else's is no place for a backup.
    tell(bench, at("a1"), at("a2", be_ports=(443,)))
    submit(bench, "j2", serves(443))
    assert (place(bench, "j2"), backup(bench, "j2")) == ("a/a1", "")
    assert "unprotected" in bench.job("j2").tasks[0].warning
    tell(bench)
    bench.advance(2.0)
    assert backup(bench, "j2") == "a/a2"


def test_a_replica_takes_the_port_that_was_kept_and_the_backup_goes_elsewhere() -> None:
    bench = two_sites()
    submit(bench, "j1", serves(ms=20, node="a1"))
    bench.status(running("j1.0.1"))
    host = backup(bench)
    assert host == "a/a2"
    tell(bench, at("a1", be_ports=(9090,)), at("a2", lc_ports=(9090,)))
    bench.advance(2.0)
    assert (place(bench), backup(bench)) == ("a/a1", "b/b1")
    assert kept_ports(bench) == {"b/b1": (9090,)}
    assert bench.starts() == ["j1.0.1"]


def test_tasks_of_one_port_on_two_nodes_share_one_backup() -> None:
    bench = Bench(bound_rule=RULE)
    trips = (*TRIPS_A, replace(TRIPS_A[0], target="a/a3"))
    bench.edge_up(at("a1"), at("a2"), at("a3"), session=1, edge="a", trips=trips)
    submit(bench, "j1", serves(node="a1"))
    submit(bench, "j2", serves(node="a3"))
    assert [backup(bench, "j1"), backup(bench, "j2")] == ["a/a2", "a/a2"]
    assert kept_ports(bench) == {"a/a2": (9090,)}
    bench.status(ended("j1.0.1"))
    bench.advance(0.2)
    assert kept_ports(bench) == {"a/a2": (9090,)}
    bench.status(ended("j2.0.1"))
    bench.advance(0.2)
    assert kept_ports(bench) == {}
