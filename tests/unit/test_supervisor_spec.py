"""What a start request may hold, and how a wrong one is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tango.supervisor.protocol import Refused, decode, encode
from tango.supervisor.spec import StartSpec

GOOD = {"key": "a-1", "argv": ["prog", "x"], "env": {"A": "1"}}


def test_defaults():
    spec = StartSpec(GOOD)
    assert spec.cwd == "/"
    assert spec.env == {"TANGO_ATTEMPT": "a-1", "A": "1"}
    assert (spec.procs_files, spec.cgroup_dirs) == ([], [])
    assert (spec.log_max_bytes, spec.log_files) == (16 << 20, 4)
    assert spec.stop_signal == 15
    assert spec.sched_idle is False
    for name in ("uid", "gid", "nice", "autogroup_nice", "oom_score_adj", "nofile", "core"):
        assert getattr(spec, name) is None
    explicit_nulls = dict.fromkeys(("cwd", "procs_files", "cgroup_dirs", "uid", "log"))
    assert StartSpec({**GOOD, **explicit_nulls}).cwd == "/"


def test_groups_of_its_own_are_the_parents_unless_said_otherwise():
    files = ["/cg/cpu/x/cgroup.procs", "/cg/memory/x/cgroup.procs"]
    assert StartSpec({**GOOD, "procs_files": files}).cgroup_dirs == ["/cg/cpu/x", "/cg/memory/x"]
    shared = StartSpec({**GOOD, "procs_files": files, "cgroup_dirs": []})
    assert shared.cgroup_dirs == []
    assert shared.procs_files == files


def test_the_marker_cannot_be_forged():
    assert StartSpec({**GOOD, "env": {"TANGO_ATTEMPT": "other"}}).env == {"TANGO_ATTEMPT": "a-1"}


@pytest.mark.parametrize(
    ("change", "field", "text"),
    [
        ({"key": "a/b"}, "key", "1 to 128 characters"),
        ({"key": "a\n"}, "key", "1 to 128 characters"),
        ({"key": "x" * 129}, "key", "1 to 128 characters"),
        ({"key": 7}, "key", "1 to 128 characters"),
        ({"argv": "prog"}, "argv", "list of strings, not a string"),
        ({"argv": []}, "argv", "at least the program"),
        ({"argv": [""]}, "argv[0]", "empty"),
        ({"argv": ["a", 1]}, "argv[1]", "a string, not a number"),
        ({"argv": ["a\0b"]}, "argv[0]", "NUL"),
        ({"argv": ["a", "\ud800"]}, "argv[1]", "surrogate"),
        ({"argv": ["a", "x" * 140_000]}, "argv", "longer than"),
        ({"env": None}, "env", "required"),
        ({"env": ["A=1"]}, "env", "an object, not a list"),
        ({"env": {"A=": "1"}}, "env", "no variable name"),
        ({"env": {"": "1"}}, "env", "no variable name"),
        ({"env": {"A": 1}}, "env.A", "a string, not a number"),
        ({"cwd": "tmp"}, "cwd", "absolute"),
        ({"cwd": "/a/../b"}, "cwd", "'..'"),
        ({"procs_files": ["/cg/x/tasks"]}, "procs_files[0]", "cgroup.procs"),
        ({"procs_files": ["/cg/../etc/cgroup.procs"]}, "procs_files[0]", "'..'"),
        ({"procs_files": ["/x/cgroup.procs"] * 33}, "procs_files", "more than 32"),
        ({"cgroup_dirs": ["/cg/other"]}, "cgroup_dirs[0]", "not the parent"),
        ({"uid": 5}, "gid", "both"),
        ({"gid": 5}, "uid", "both"),
        ({"uid": True, "gid": 5}, "uid", "whole number, not a boolean"),
        ({"nice": 20}, "nice", "-20..19"),
        ({"nice": 1.5}, "nice", "whole number"),
        ({"sched_idle": 1}, "sched_idle", "true or false"),
        ({"autogroup_nice": -21}, "autogroup_nice", "-20..19"),
        ({"oom_score_adj": 1001}, "oom_score_adj", "-1000..1000"),
        ({"log": {"max_bytes": 10}}, "log.max_bytes", "4096.."),
        ({"log": {"files": 0}}, "log.files", "1..100"),
        ({"log": {"size": 1}}, "log.size", "unknown field"),
        ({"log": 5}, "log", "an object"),
        ({"stop_signal": 0}, "stop_signal", "1..64"),
        ({"rlimits": {"cpu": 1}}, "rlimits.cpu", "unknown field (known: nofile, core)"),
        ({"rlimits": {"core": -1}}, "rlimits.core", "0.."),
        ({"nize": 5}, "nize", "unknown field"),
    ],
)
def test_what_is_wrong_is_named(change, field, text):
    with pytest.raises(Refused) as caught:
        StartSpec({**GOOD, **change})
    reply = caught.value.reply(3)
    assert (reply["id"], reply["ok"], reply["code"]) == (3, False, "INVALID")
    assert reply["field"] == field
    assert reply["error"].startswith(f"{field}: ")
    assert text in reply["error"]
    assert len(encode(reply)) < 2000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
names = st.sampled_from(
    ["key", "argv", "env", "cwd", "log", "rlimits", "nice", "uid", "cgroup_dirs"]
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(names, json_values, max_size=5))
def test_any_json_is_taken_or_refused_never_a_fault(message):
    line = json.dumps(message).encode()
    try:
        StartSpec({**GOOD, **decode(line)})
    except Refused as refused:
        encode(refused.reply(None))
