"""Keys of the daemons' sections that say how they work, not where: the same in every file."""

from __future__ import annotations

from dataclasses import replace

from tango.adapters.documents import Section
from tango.model.errors import InvalidField
from tango.model.reassurance import ReassuranceRule
from tango.model.rebalance import RebalanceRule
from tango.model.settings import CentralSettings, EdgeSettings, WorkerSettings


def central_tuning(section: Section, plain: CentralSettings) -> CentralSettings:
    """`plain` with what [central] says of it. Raises InvalidField with field, file and line."""
    return replace(
        plain,
        max_jobs_waiting=section.integer(
            "max_jobs_waiting", plain.max_jobs_waiting, low=1, high=10_000_000
        ),
        node_lost_after_s=section.number(
            "node_lost_after_s", plain.node_lost_after_s, low=0, high=86_400
        ),
        max_overtaken=section.integer("max_overtaken", plain.max_overtaken, low=0, high=1_000_000),
        be_floor=section.number("be_floor", plain.be_floor, low=0, high=1),
        be_floor_s=section.number("be_floor_s", plain.be_floor_s, low=1, high=86_400),
        keep_jobs=section.integer("keep_jobs", plain.keep_jobs, low=0, high=10_000_000),
        keep_jobs_s=section.number("keep_jobs_s", plain.keep_jobs_s, low=1, high=10 * 366 * 86400),
    )


def edge_tuning(section: Section, plain: EdgeSettings) -> EdgeSettings:
    """`plain` with what [edge] says of it. Raises InvalidField with field, file and line."""
    return replace(
        plain,
        tick_ms=section.number("tick_ms", plain.tick_ms, low=0.1, high=1000),
        node_dead_after_s=section.number(
            "node_dead_after_s", plain.node_dead_after_s, low=0.2, high=3600
        ),
        max_queue=section.integer("max_queue", plain.max_queue, low=0, high=1_000_000),
        peer_interval_ms=section.number(
            "peer_interval_ms", plain.peer_interval_ms, low=10, high=10_000
        ),
        peer_max_age_ms=section.number(
            "peer_max_age_ms", plain.peer_max_age_ms, low=50, high=60_000
        ),
        eviction_grace_s=section.number(
            "eviction_grace_s", plain.eviction_grace_s, low=0, high=600
        ),
        reassurance=reassurance_rule(section),
        rebalance=rebalance_rule(section),
    )


def worker_tuning(section: Section, plain: WorkerSettings) -> WorkerSettings:
    """`plain` with what [worker] says of it. Raises InvalidField with field, file and line."""
    return replace(
        plain,
        control_interval_ms=section.number(
            "control_interval_ms", plain.control_interval_ms, low=10, high=60_000
        ),
        listing_interval_ms=section.number(
            "listing_interval_ms", plain.listing_interval_ms, low=100, high=60_000
        ),
        # The kernel's own bounds of a CFS period.
        quota_period_ms=section.number("quota_period_ms", plain.quota_period_ms, low=1, high=1000),
        cap_be=section.boolean("cap_be", plain.cap_be),
        memory_reserve_bytes=section.memory("memory_reserve", plain.memory_reserve_bytes),
    )


def rebalance_rule(edge: Section) -> RebalanceRule:
    """[edge.rebalance], all of it optional."""
    if "rebalance" not in edge:
        return RebalanceRule()
    section, plain = edge.section("rebalance"), RebalanceRule()
    return RebalanceRule(
        enabled=section.boolean("enabled", plain.enabled),
        settle_s=section.number("settle_s", plain.settle_s, low=0, high=86_400),
        max_moves=section.integer("max_moves", plain.max_moves, low=1, high=1000),
        min_gain=section.number("min_gain", plain.min_gain, low=0.1, high=100),
        patience_s=section.number("patience_s", plain.patience_s, low=1, high=3600),
    )


def reassurance_rule(edge: Section) -> ReassuranceRule:
    """[edge.reassurance], all of it optional; shares of the declared CPU as percent."""
    if "reassurance" not in edge:
        return ReassuranceRule()
    section, plain = edge.section("reassurance"), ReassuranceRule()

    def share(key: str, default: float) -> float:
        percent = section.number(key, 100 * default, low=0, high=1000)
        return percent / 100 if key in section else default

    rule = ReassuranceRule(
        enabled=section.boolean("enabled", plain.enabled),
        percentile=section.number("percentile", plain.percentile, low=50, high=100),
        alpha=section.number("alpha", plain.alpha, low=0, high=1),
        beta=section.number("beta", plain.beta, low=0, high=1),
        window_s=section.number("window_ms", plain.window_s * 1000, low=50, high=600_000) / 1000,
        min_samples=section.integer("min_samples", plain.min_samples, low=1, high=10_000),
        grow_share=share("grow_percent", plain.grow_share),
        shrink_share=share("shrink_percent", plain.shrink_share),
        step_share=share("step_percent", plain.step_share),
    )
    try:
        rule.validate()
    except InvalidField as error:
        raise error.at(section.where(error.field), section.path) from None
    return rule
