"""A snapshot, a pod or a profile with anything wrong in it: read, or refused by field and file."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tango.adapters.cluster_snapshots import read_snapshot, snapshot_text
from tango.adapters.json_documents import parse_json
from tango.adapters.placement_pods import read_pod
from tango.adapters.placement_profiles import read_profile
from tango.adapters.policies import placement_plugins
from tango.adapters.yaml_documents import parse_yaml
from tango.algorithms.placement.plugin import made
from tango.algorithms.placement.pod import Pod
from tango.algorithms.placement.trial import tried
from tango.model.errors import InvalidField
from tango.model.placement_profile import DEFAULT

CLUSTER = (Path(__file__).parents[2] / "configs" / "cluster.yaml").read_text()
SNAPSHOT = read_snapshot(parse_yaml(CLUSTER, "c.yaml")[0])
PLUGINS = placement_plugins(use.plugin for use in DEFAULT.plugins)
POD = {
    "name": "p", "cpu": "1", "memory": "1Mi", "cores": 1, "cpuset": [0], "ports": [80],
    "group": "g", "images": ["nginx"], "near": "a1", "bound_ms": 20, "node": "a1", "priority": 1,
    "requires": [{"key": "zone", "operator": "In", "values": ["west"]}],
    "prefers": [{"key": "rack", "operator": "Gt", "values": ["1"], "weight": 2}],
    "tolerations": [{"key": "far", "value": "x", "effect": "NoSchedule"}],
}  # fmt: skip
PROFILE = {
    "placement": {
        "name": "p",
        "plugins": [
            {"name": "fit", "weight": 2, "filters": True, "parameters": {"strategy": "most"}},
            {"name": "spread", "parameters": {"most_per_site": 1, "most_per_node": 2}},
            {"name": "download", "parameters": {"slow_s": 3.5}},
        ],
    }
}
VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(("a1", "cloud", "1e9", "Gt", "most", "spread", "layers", "sha256:", "a:b:c")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=4,
)


@st.composite
def mutated(draw: st.DrawFn, whole: object) -> str:
    """One to three values of the document replaced, removed or added, as JSON."""
    document = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        at: Any = document
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(at[key], dict | list) and draw(st.integers(0, 3)):
                at = at[key]
                continue
            match draw(st.integers(0, 5)):
                case 0:
                    del at[key]
                case 1 if isinstance(at, dict):
                    at[draw(st.text(max_size=4))] = draw(VALUE)
                case _:
                    at[key] = draw(VALUE)
            break
    return json.dumps(document)


def refusal(parse: Callable[[], object]) -> InvalidField | None:
    """None where it was read; anything but InvalidField fails the test."""
    try:
        parse()
    except InvalidField as error:
        return error
    return None


def named(error: InvalidField) -> bool:
    return bool(error.field) and error.where.startswith("f.json")


@given(mutated(json.loads(snapshot_text(SNAPSHOT))))
@settings(max_examples=400, deadline=None)
def test_any_snapshot(text: str) -> None:
    error = refusal(lambda: read_snapshot(parse_json(text, "f.json")))
    assert error is None or named(error)
    if error is None:
        snapshot = read_snapshot(parse_json(text, "f.json"))
        assert read_snapshot(parse_json(snapshot_text(snapshot), "f.json")) == snapshot


def pod_of(text: str) -> Pod:
    document = parse_json(text, "f.json")
    pod = read_pod(document)
    document.finish()
    return pod


@given(mutated(POD))
@settings(max_examples=400, deadline=None)
def test_any_pod(text: str) -> None:
    error = refusal(lambda: pod_of(text))
    assert error is None or named(error)
    if error is None:
        pod = pod_of(text)
        asked = [(pod.name, (pod,))]
        error = refusal(lambda: tried(asked, SNAPSHOT, DEFAULT, PLUGINS))
        assert error is None or error.field.startswith(pod.name)
    if error is None:
        (found,) = tried(asked, SNAPSHOT, DEFAULT, PLUGINS)
        assert found.placed == bool(found.decisions[0].node)
        assert found.placed or found.nearest


@given(mutated(PROFILE))
@settings(max_examples=400, deadline=None)
def test_any_profile(text: str) -> None:
    error = refusal(lambda: read_profile(parse_json(text, "f.json")))
    assert error is None or named(error)
    if error is None:
        profile = read_profile(parse_json(text, "f.json"))
        kinds = placement_plugins(use.plugin for use in profile.plugins)
        error = refusal(lambda: made(profile, SNAPSHOT.room(), kinds))
        assert error is None or named(error)
