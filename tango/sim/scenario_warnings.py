"""What a scenario asks for and will not get: said before it runs, for it would run all the same."""

from __future__ import annotations

from collections.abc import Iterator

from tango.model.errors import InvalidField
from tango.model.units import format_cpu, format_memory
from tango.sim.loads import SimService
from tango.sim.scenario import Scenario, ScheduledFailure
from tango.sim.topology import NodeShape, Site

SHOWN_SITES = 4


def warnings_of(scenario: Scenario) -> list[InvalidField]:
    """What is doubtful, in fields of the file and without its place there.

    Raises InvalidField where no service and no job at all can run.
    """
    services = {
        index: warning
        for index, service in enumerate(scenario.services)
        if (warning := _service(f"services[{index}]", service, scenario)) is not None
    }
    jobs = dict(_jobs(scenario))
    nowhere = all(not _sites_with_room(service, scenario) for service in scenario.services) and len(
        jobs
    ) == len(scenario.jobs)
    if nowhere and (services or jobs):
        first = next(iter((services or jobs).values()))
        problem = f"{first.problem}; no other service or job fits either: nothing would run"
        raise InvalidField(first.field, problem, first.fix)
    return [
        *services.values(),
        *jobs.values(),
        *_loads(scenario),
        *_neighbours(scenario),
        *_failures(scenario),
    ]


def _service(place: str, service: SimService, scenario: Scenario) -> InvalidField | None:
    having = _sites_of(service, scenario)
    room = _sites_with_room(service, scenario)
    lacking = [site for site in having if site not in room]
    if not lacking:
        return None
    spec = service.spec
    memory = spec.memory_bytes + spec.memory_per_request_bytes
    asked = (
        f"a replica of {spec.name} with one request takes {format_memory(memory)} and "
        f"{format_cpu(spec.cpu_per_request_millis)} CPU"
    )
    largest = max((node for site in lacking for node in site.nodes), key=_size, default=None)
    where = "any site"
    if room:
        names = ", ".join(site.name for site in lacking[:SHOWN_SITES])
        more = ", ..." if len(lacking) > SHOWN_SITES else ""
        where = f"{len(lacking)} of its {len(having)} sites ({names}{more})"
    has = "no node" if largest is None else f"at most {_node_words(largest)}"
    # By what is short: memory is what a replica needs in any case.
    short = largest is not None and memory <= largest.memory_bytes
    key = "cpu_per_request" if short else "memory"
    problem = f"{asked}; {where} has {has}: it serves nothing there"
    return InvalidField(f"{place}.{key}", problem, "ask for less, or give larger nodes")


def _sites_of(service: SimService, scenario: Scenario) -> list[Site]:
    sites = scenario.topology.sites
    return [site for site in sites if not service.sites or site.name in service.sites]


def _sites_with_room(service: SimService, scenario: Scenario) -> list[Site]:
    """Those of its sites that have a node which takes a replica, and one request beside it."""
    spec = service.spec
    memory = spec.memory_bytes + spec.memory_per_request_bytes
    cpu = spec.cpu_per_request_millis
    return [
        site
        for site in _sites_of(service, scenario)
        if any(node.memory_bytes >= memory and node.cpu_millis >= cpu for node in site.nodes)
    ]


def _jobs(scenario: Scenario) -> Iterator[tuple[int, InvalidField]]:
    """Tasks of traces are scaled to nodes, and always fit."""
    nodes = [node for _, node in scenario.topology.nodes()]
    largest = max(nodes, key=_size, default=None)
    for index, job in enumerate(scenario.jobs):
        shape = job.shape
        if shape is None or any(
            node.cpu_millis >= shape.cpu_millis and node.memory_bytes >= shape.memory_bytes
            for node in nodes
        ):
            continue
        has = "there is none" if largest is None else f"the largest has {_node_words(largest)}"
        problem = (
            f"a task of {shape.name} takes {format_memory(shape.memory_bytes)} and "
            f"{format_cpu(shape.cpu_millis)} CPU, which no node has ({has}): it never runs"
        )
        short = largest is not None and shape.memory_bytes <= largest.memory_bytes
        field = f"jobs[{index}].{'cpu' if short else 'memory'}"
        yield index, InvalidField(field, problem, "ask for less, or give larger nodes")


def _loads(scenario: Scenario) -> Iterator[InvalidField]:
    if not scenario.loads and not scenario.jobs:
        yield InvalidField("loads", "there are neither loads nor jobs", "add [[loads]]")
    if scenario.warmup_s >= scenario.duration_s:
        problem = f"leaves nothing of the {scenario.duration_s:g} s of load to count"
        yield InvalidField("warmup_s", problem, "make it shorter than duration_s")


def _neighbours(scenario: Scenario) -> Iterator[InvalidField]:
    topology = scenario.topology
    others = len(topology.sites) - 1
    for key in ("neighbours", "peers"):
        count: int = getattr(topology, key)
        if count > others and scenario.policies.forwarding:
            have = f"are {others or 'no'} other sites" if others != 1 else "is 1 other site"
            problem = f"is {count}, and there {have}"
            yield InvalidField(f"topology.{key}", problem, f"use {others}")


def _failures(scenario: Scenario) -> Iterator[InvalidField]:
    for index, failure in enumerate(scenario.failures):
        if isinstance(failure, ScheduledFailure) and failure.at_s >= scenario.duration_s:
            problem = (
                f"is {failure.at_s:g} s, and the load ends at {scenario.duration_s:g} s: "
                f"this {failure.kind.value} never fails"
            )
            yield InvalidField(f"failures[{index}].at_s", problem, "let it fail sooner")


def _size(node: NodeShape) -> tuple[int, int]:
    return node.memory_bytes, node.cpu_millis


def _node_words(node: NodeShape) -> str:
    return f"{format_memory(node.memory_bytes)} and {format_cpu(node.cpu_millis)} CPU"
