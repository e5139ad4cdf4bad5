"""Any snapshot that can be is read back as it was written, as JSON and as YAML."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tango.adapters.cluster_snapshots import read_snapshot, snapshot_text
from tango.adapters.json_documents import parse_json
from tango.adapters.yaml_documents import parse_yaml
from tango.algorithms.placement.cluster import ImageRow, NodeRow
from tango.algorithms.placement.cluster_snapshot import ClusterSnapshot, Placed, RoundTrips
from tango.algorithms.placement.pod import Pod
from tango.model.affinity import EFFECTS, Requirement, Taint, Toleration

# Words that YAML, or JSON inside YAML, could take for something else; no control characters.
WORD = st.sampled_from(
    ("no", "1e3", "0o7", "null", "~", "1:30", "a/b", "é", "🙂", "-", "a: b", "#x", "<<", "'\"")
)
TEXT = WORD | st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=8)
DIGEST = st.integers(0, 5).map(lambda n: f"sha256:{n:064x}")
IMAGE = st.sampled_from(("docker.io/library/a:latest", "host:5000/b/c:1.2"))
LABELS = st.dictionaries(TEXT, TEXT, max_size=3).map(lambda found: tuple(found.items()))
TAINT = st.builds(Taint, TEXT, TEXT | st.just(""), st.sampled_from(EFFECTS))
TOLERATION = st.builds(Toleration, TEXT, TEXT | st.none(), st.sampled_from((*EFFECTS, None)))
REQUIREMENT = st.builds(Requirement, TEXT, st.just("In"), st.lists(TEXT, min_size=1).map(tuple))
MS = st.integers(0, 100_000).map(lambda n: n / 1000)
SITES = ("a", "b", "")


@st.composite
def snapshots(draw: st.DrawFn) -> ClusterSnapshot:
    names = draw(st.lists(TEXT, min_size=1, max_size=4, unique=True))
    nodes = tuple(
        NodeRow(
            name,
            draw(st.integers(8000, 64_000)),
            draw(st.integers(2**40, 2**41)),
            draw(st.none() | st.integers(8, 64)),
            draw(st.sampled_from(SITES)),
            draw(LABELS),
            tuple(draw(st.lists(TAINT, max_size=2))),
            tuple(draw(st.lists(IMAGE, max_size=2))),
            tuple(draw(st.lists(DIGEST, max_size=2))),
            draw(st.booleans()),
            draw(st.booleans()),
            draw(st.none() | st.floats(1, 1e12)),
        )
        for name in names
    )
    pods = tuple(
        Placed(
            Pod(
                f"pod {at}",
                draw(st.integers(1000, 2000)),
                draw(st.integers(0, 2**30)),
                draw(st.integers(0, 1)),
                ports=(8000 + at,) if draw(st.booleans()) else (),
                group=draw(TEXT | st.just("")),
                images=tuple(draw(st.lists(IMAGE, max_size=2))),
                near=(near := draw(st.sampled_from(("", *names)))),
                bound_s=draw(MS) / 1000 if near else float("inf"),
                node=draw(st.sampled_from(("", *names))),
                requires=tuple(draw(st.lists(REQUIREMENT, max_size=2))),
                prefers=tuple(draw(st.lists(st.tuples(REQUIREMENT, st.floats(0, 9)), max_size=2))),
                tolerations=tuple(draw(st.lists(TOLERATION, max_size=2))),
                priority=draw(st.integers(-9, 9)),
            ),
            draw(st.sampled_from(names)),
        )
        for at in range(draw(st.integers(0, 3)))
    )
    sizes = {f"sha256:{n:064x}": n * 1000 for n in range(6)}
    images = tuple(
        ImageRow(name, tuple((one, sizes[one]) for one in draw(st.lists(DIGEST, max_size=3))))
        for name in draw(st.lists(IMAGE, unique=True))
    )
    known = sorted({node.site for node in nodes})
    pair = st.tuples(st.sampled_from(known), st.sampled_from(known), MS).map(
        lambda one: (one[0], one[1], one[2] if one[0] != one[1] else 0.0)
    )
    between = st.builds(
        RoundTrips, st.just("sites"), st.lists(pair, max_size=3).map(tuple), MS
    )  # fmt: skip
    return ClusterSnapshot(nodes, images, draw(st.none() | between), pods)


@given(snapshots())
@settings(max_examples=150, deadline=None)
def test_a_snapshot_is_read_as_it_was_written(snapshot: ClusterSnapshot) -> None:
    text = snapshot_text(snapshot)
    assert read_snapshot(parse_json(text, "x.json")) == snapshot
    (document,) = parse_yaml(text, "x.yaml")
    assert read_snapshot(document) == snapshot
