"""[policies], [[failures]], [costs] and the daemons' sections of a scenario file."""

from __future__ import annotations

from collections.abc import Callable

from tango.adapters.documents import Section
from tango.adapters.policies import batch_policy, traffic_policy
from tango.model.errors import InvalidField
from tango.sim.scenario import (
    MAX_COST_S,
    Costs,
    FailureKind,
    FailureRate,
    Policies,
    ScheduledFailure,
    SolveCost,
)
from tango.sim.scenario_fields import known_names, milliseconds, placed, require_known
from tango.sim.scenario_topology import Places
from tango.sim.topology import CENTRAL
from tango.workload.patterns import MAX_DURATION_S

_COSTS = Costs()
# What Costs.calibrated is about.
_MEASURED = (
    "edge_request_ms", "edge_answer_ms", "worker_request_ms", "worker_answer_ms", "traffic_solve",
)  # fmt: skip
_POLICIES = Policies()


def read_policies(section: Section) -> Policies:
    """[policies]; each must be installed. Raises InvalidField with field, file and line."""
    traffic = section.string("traffic", _POLICIES.traffic)
    batch = section.string("batch", _POLICIES.batch)
    _require_installed(section, "traffic", traffic, traffic_policy)
    _require_installed(section, "batch", batch, batch_policy)
    return Policies(
        traffic,
        batch,
        section.boolean("dvpa") if "dvpa" in section else None,
        section.boolean("reassurance") if "reassurance" in section else None,
        section.boolean("forwarding", _POLICIES.forwarding),
    )


def _require_installed(
    section: Section, key: str, name: str, load: Callable[[str], object]
) -> None:
    try:
        load(name)
    except InvalidField as error:
        raise section.error(key, error.problem, error.fix) from None


def read_failures(document: Section, places: Places) -> tuple[ScheduledFailure | FailureRate, ...]:
    """[[failures]]: at a time, or at a rate. Raises InvalidField with field, file and line."""
    if "failures" not in document:
        return ()
    return tuple(_failure(table, places) for table in document.sections("failures"))


def _failure(section: Section, places: Places) -> ScheduledFailure | FailureRate:
    kind = section.choice("kind", FailureKind)
    nodes = tuple(node.name for _, node in places.topology.nodes())
    of_nodes = kind in (FailureKind.NODE, FailureKind.WORKER)
    known, what = (nodes, "node") if of_nodes else (places.sites, "site")
    if "mtbf_s" in section:
        if kind in (FailureKind.LINK, FailureKind.CENTRAL) and "names" in section:
            raise section.error("names", f"a {kind.value} has none here", "leave it out")
        mtbf_s = section.number("mtbf_s", low=0.001, high=MAX_DURATION_S)
        mttr_s = section.number("mttr_s", low=0.001, high=MAX_DURATION_S)
        return FailureRate(kind, mtbf_s, mttr_s, known_names(section, "names", known, what))
    at_s = section.number("at_s", low=0, high=MAX_DURATION_S)
    repair_s = None
    if "repair_s" in section:
        repair_s = section.number("repair_s", low=0, high=MAX_DURATION_S)
    name = other = ""
    if kind is not FailureKind.CENTRAL:
        name = section.string("name")
        require_known(section, "name", name, known, what)
    if kind is FailureKind.LINK:
        other = section.string("other")
        ends = (*places.sites, CENTRAL, *nodes)
        require_known(section, "other", other, ends, "site or node")
    return ScheduledFailure(at_s, kind, name, other, repair_s)


def read_costs(section: Section) -> Costs:
    """[costs], in milliseconds. Raises InvalidField with field, file and line."""
    most = MAX_COST_S * 1000

    def cost(name: str) -> float:
        return milliseconds(section, f"{name}_ms", getattr(_COSTS, f"{name}_s"), 0, most)

    # Whoever states other costs has measured them elsewhere, or not at all.
    own = any(key in section for key in _MEASURED)
    with placed(section):
        return Costs(
            cost("edge_request"),
            cost("edge_answer"),
            cost("worker_request"),
            cost("worker_answer"),
            _solve(section.section("traffic_solve"), _COSTS.traffic_solve),
            _solve(section.section("batch_solve"), _COSTS.batch_solve),
            cost("store_commit"),
            cost("process_start"),
            cost("health_check"),
            cost("redial"),
            cost("redial_longest"),
            section.number("keepalive_s", _COSTS.keepalive_s, low=0, high=MAX_COST_S),
            section.string("calibrated", "" if own else _COSTS.calibrated),
        )


def _solve(section: Section, plain: SolveCost) -> SolveCost:
    most = MAX_COST_S * 1000
    return SolveCost(
        milliseconds(section, "base_ms", plain.base_s, 0, most),
        milliseconds(section, "per_unit_ms", plain.per_unit_s, 0, most),
    )
