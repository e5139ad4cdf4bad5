"""Random histories of labels, taints and jobs: each job runs where it may, and waits only if none
would do. There is always room, so that nothing else decides."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

from central_bench import MIB, Bench, node
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.adapters.bound_rules import bound_rule
from tango.adapters.policies import batch_policy
from tango.model.affinity import Labels, Requirement, Taint, Taints, Toleration, barred
from tango.model.cluster import NodeView
from tango.model.job import JobSpec, JobState, Near, TaskSpec
from tango.model.placement_profile import DEFAULT
from tango.model.round_trips import EdgeTrip

POLICIES = ("most-free", "first-fit", "best-fit", "round-robin", "ceres")
if find_spec("numpy") is not None:
    POLICIES = (*POLICIES, "profile")
KEYS = st.sampled_from(("a", "b"))
VALUES = st.sampled_from(("1", "2"))
MARKS = st.tuples(
    st.dictionaries(KEYS, VALUES).map(lambda found: tuple(sorted(found.items()))),
    st.lists(
        st.builds(Taint, KEYS, VALUES, st.sampled_from(("NoSchedule", "PreferNoSchedule"))),
        max_size=2,
    ).map(tuple),
)
TASKS = st.builds(
    TaskSpec,
    st.just("t"),
    st.just(("true",)),
    cpu_millis=st.just(10),
    memory_bytes=st.just(MIB),
    requires=st.lists(
        st.builds(Requirement, KEYS, st.sampled_from(("In", "NotIn")), st.tuples(VALUES))
        | st.builds(Requirement, KEYS, st.sampled_from(("Exists", "DoesNotExist"))),
        max_size=2,
    ).map(tuple),
    tolerations=st.lists(st.builds(Toleration, KEYS, st.none() | VALUES), max_size=2).map(tuple),
    near=st.none() | st.just(Near("n1", "", 0.05)),
)
# A job, or node number .. has other labels and taints from now on.
STEPS = st.lists(TASKS | st.tuples(st.integers(0, 2), MARKS), min_size=1, max_size=14)
TRIPS = tuple(EdgeTrip(f"e1/n{number}", 0.001) for number in (1, 2, 3))


class History:
    def __init__(self, policy: str) -> None:
        self.rule = bound_rule(DEFAULT)
        self.bench = Bench(policy=batch_policy(policy), bound_rule=self.rule)
        self.views: list[NodeView] = [
            node(f"n{number}", cpu=64_000, memory=2**36) for number in (1, 2, 3)
        ]
        self.places: dict[str, str] = {}
        self.bench.edge_up(*self.views, trips=TRIPS)

    def submit(self, task: TaskSpec) -> None:
        if self.rule is None:
            task = replace(task, near=None)
        name = f"j{len(self.places)}"
        self.places[name] = ""
        self.bench.submit(name, JobSpec("job", (task,)))

    def mark(self, number: int, labels: Labels, taints: Taints) -> None:
        self.views[number] = replace(self.views[number], labels=labels, taints=taints)
        self.bench.nodes(*self.views, trips=TRIPS)

    def check(self) -> None:
        self.bench.advance(3.0)
        for name, place in self.places.items():
            job = self.bench.job(name)
            terms, now = job.spec.tasks[0].terms, job.tasks[0].node
            open_to_it = {
                view.node for view in self.views if not barred(terms, view.labels, view.taints)
            }
            if place:
                assert now == place, f"{name} has a place, and was moved to {now}"
                assert job.tasks[0].attempt == 1
            elif open_to_it:
                assert now in open_to_it, f"{name} is on {now!r}, of {open_to_it}: {job.reason}"
            else:
                assert job.state is JobState.PENDING
                assert job.reason.startswith("NeverFits: nearest ")
            self.places[name] = now


@given(policy=st.sampled_from(POLICIES), steps=STEPS)
@settings(max_examples=20, deadline=None)
def test_every_job_is_where_it_may_be(
    policy: str, steps: list[TaskSpec | tuple[int, tuple[Labels, Taints]]]
) -> None:
    history = History(policy)
    for step in steps:
        if isinstance(step, TaskSpec):
            history.submit(step)
        else:
            history.mark(step[0], *step[1])
        history.check()
