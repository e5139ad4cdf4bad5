"""No batch policy places a task on a node that bars it, whatever labels and taints there are."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

from batch_snapshots import gangs, left_after, snapshots
from hypothesis import assume, given
from hypothesis import strategies as st

from tango.adapters.policies import batch_policy, policy_names
from tango.model.affinity import NodeTerms, Requirement, Taint, Toleration
from tango.model.placement_profile import Profile, Use
from tango.model.plan import BatchPolicy, BatchSnapshot

VALUES = st.sampled_from(("1", "2", "x"))
KEYS = st.sampled_from(("a", "b"))
LABELS = st.dictionaries(KEYS, VALUES).map(lambda found: tuple(sorted(found.items())))
TAINTS = st.lists(
    st.builds(Taint, KEYS, VALUES, st.sampled_from(("NoSchedule", "PreferNoSchedule"))),
    max_size=2,
).map(tuple)
REQUIREMENTS = st.one_of(
    st.builds(Requirement, KEYS, st.sampled_from(("In", "NotIn")), st.tuples(VALUES)),
    st.builds(Requirement, KEYS, st.sampled_from(("Exists", "DoesNotExist"))),
    st.builds(Requirement, KEYS, st.sampled_from(("Gt", "Lt")), st.just(("1",))),
)
TERMS = st.none() | st.builds(
    NodeTerms,
    st.lists(REQUIREMENTS, max_size=2).map(tuple),
    st.lists(st.tuples(REQUIREMENTS, st.floats(0, 100)), max_size=2).map(tuple),
    st.lists(st.builds(Toleration, KEYS, st.none() | VALUES), max_size=2).map(tuple),
)
BARE = Profile("bare", (Use("fit"),))


@st.composite
def choosy(draw: st.DrawFn) -> BatchSnapshot:
    snapshot = draw(snapshots())
    offers = tuple(
        replace(one, labels=draw(LABELS), taints=draw(TAINTS)) for one in snapshot.offers
    )
    wanted = tuple(
        replace(gang, tasks=tuple(replace(task, terms=draw(TERMS)) for task in gang.tasks))
        for gang in draw(gangs())
    )
    return replace(snapshot, offers=offers, gangs=wanted)


POLICIES: tuple[BatchPolicy, ...] = tuple(
    batch_policy(name) for name in policy_names("tango.batch") if name != "profile"
)
if find_spec("numpy") is not None:
    POLICIES = (*POLICIES, batch_policy("profile"), batch_policy("profile", BARE))


@given(snapshot=choosy())
def test_no_task_is_where_it_is_barred(snapshot: BatchSnapshot) -> None:
    tasks = {(task.job_id, task.task_index): task for gang in snapshot.gangs for task in gang.tasks}
    offers = {(offer.edge, offer.node): offer for offer in snapshot.offers}
    for policy in POLICIES:
        plan = policy.place(snapshot)
        left_after(snapshot, plan)
        for one in plan.placements:
            bar = offers[one.edge, one.node].bars(tasks[one.job_id, one.task_index])
            assert not bar, f"{policy.name}: {one} {bar}"


@given(snapshot=choosy())
def test_one_task_with_a_node_that_will_do_is_placed(snapshot: BatchSnapshot) -> None:
    assume(snapshot.gangs)
    alone = replace(snapshot.gangs[0], tasks=snapshot.gangs[0].tasks[:1])
    (task,) = alone.tasks
    able = any(
        not offer.bars(task)
        and offer.cpu_millis >= task.cpu_millis
        and offer.memory_bytes >= task.memory_bytes
        for offer in snapshot.offers
    )
    for policy in POLICIES:
        if policy.name != "node":
            plan = policy.place(replace(snapshot, gangs=(alone,)))
            assert (len(plan.placements), len(plan.unplaced)) == (able, not able), policy.name
