"""Labels, taints and what is said of them: matching, and what Kubernetes lets them be called."""

from __future__ import annotations

import pytest

from tango.model.affinity import (
    NodeTerms,
    Requirement,
    Taint,
    Toleration,
    barred,
    missed,
    terms_of,
    untolerated,
)
from tango.model.errors import InvalidField
from tango.model.job import JobSpec, TaskSpec
from tango.model.label_rules import check_key, check_labels, check_taints, check_value, parse_taint
from tango.model.service import ServiceSpec

WEST = Requirement("zone", "In", ("west",))
GPU = Taint("gpu", "true")
LABELS = (("rank", "3"), ("zone", "west"))


def test_a_node_bars_by_labels_and_by_hard_taints() -> None:
    terms = NodeTerms((WEST, Requirement("rank", "Gt", ("3",))))
    assert barred(NodeTerms((WEST,)), LABELS, ()) == ""
    assert barred(terms, LABELS, ()) == "without rank Gt 3"
    assert barred(terms, (), ()) == "without zone In west"
    assert barred(None, LABELS, (GPU,)) == "tainted gpu=true:NoSchedule, not tolerated"
    assert barred(None, LABELS, (Taint("old", "", "PreferNoSchedule"),)) == ""
    assert barred(NodeTerms(tolerations=(Toleration("gpu"),)), (), (GPU,)) == ""
    assert barred(NodeTerms(tolerations=(Toleration("gpu", "false"),)), (), (GPU,)) != ""
    assert list(missed(terms, ())) == ["without zone In west", "without rank Gt 3"]
    assert list(untolerated(terms, (GPU,))) == ["tainted gpu=true:NoSchedule, not tolerated"]


def test_who_says_nothing_has_no_terms() -> None:
    assert terms_of((), (), ()) is None
    assert TaskSpec("t", ("x",)).terms is None
    assert ServiceSpec("s", ("x",), requires=(WEST,)).terms == NodeTerms((WEST,))


def test_texts() -> None:
    assert Requirement("ssd", "Exists").text == "ssd Exists"
    assert Taint("spot").text == "spot:NoSchedule"
    tolerations = Toleration(), Toleration("a"), Toleration("a", "b", "NoSchedule")
    assert [one.text for one in tolerations] == ["*:*", "a:*", "a=b:NoSchedule"]


@pytest.mark.parametrize(
    ("text", "taint"),
    [
        ("gpu=true:NoSchedule", GPU),
        ("spot:PreferNoSchedule", Taint("spot", "", "PreferNoSchedule")),
        ("example.com/x=:NoSchedule", Taint("example.com/x")),
    ],
)
def test_taints_as_kubectl_writes_them(text: str, taint: Taint) -> None:
    assert parse_taint(text) == taint


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("gpu=true", "is not a taint"),
        ("gpu:noschedule", "is not a taint"),
        ("", "is not a taint"),
        (":NoSchedule", "is not the key of a label"),
        ("a b:NoSchedule", "is not the key of a label"),
        ("a=b c:NoSchedule", "is not the value of a label"),
        ("gpu=true:NoExecute", "would end what runs there, which no taint does here"),
    ],
)
def test_what_is_no_taint(text: str, problem: str) -> None:
    with pytest.raises(InvalidField, match=problem) as caught:
        parse_taint(text, "worker.taints[0]")
    assert caught.value.field == "worker.taints[0]"
    assert caught.value.fix


@pytest.mark.parametrize(
    "key", ["a", "A.b_c-9", "example.com/name", "a-1.b/x", "x" * 63, "d" * 253 + "/x"]
)
def test_keys(key: str) -> None:
    check_key(key, "labels")


@pytest.mark.parametrize(
    "key",
    [
        "", "/a", "a/", "a/b/c", "-a", "a-", ".a", "A.com/x", "a..b/x", "x" * 64, "d" * 254 + "/x",
        "ä", "a\n",
    ],
)  # fmt: skip
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(InvalidField):
        check_key(key, "labels")


def test_values_have_no_slash_and_no_more_than_63() -> None:
    for value in ("", "west", "10.0.0.5", "x" * 63):
        check_value(value, "labels.a")
    for value in ("a/b", "-", "x" * 64, "a b", "a\n"):
        with pytest.raises(InvalidField, match="is not the value of a label"):
            check_value(value, "labels.a")


def test_no_more_than_there_may_be() -> None:
    with pytest.raises(InvalidField, match="at most 64"):
        check_labels(tuple((f"k{i}", "") for i in range(65)))
    with pytest.raises(InvalidField, match=r"labels\.a: is there twice"):
        check_labels((("a", "1"), ("a", "2")))
    with pytest.raises(InvalidField, match="at most 32"):
        check_taints(tuple(Taint(f"k{i}") for i in range(33)))
    with pytest.raises(InvalidField, match=r"taints\[1\]: gpu:NoSchedule is there twice"):
        check_taints((GPU, Taint("gpu", "false")))
    check_taints((GPU, Taint("gpu", "true", "PreferNoSchedule")))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"requires": (Requirement("a b", "Exists"),)}, "tasks[0].requires[0].key"),
        ({"requires": (Requirement("a", "In", ("ok", "no/t")),)}, "tasks[0].requires[0].values[1]"),
        ({"requires": (WEST,) * 33}, "tasks[0].requires"),
        ({"prefers": ((WEST, 1.0), (WEST, 101.0))}, "tasks[0].prefers[1].weight"),
        ({"prefers": ((Requirement("", "Exists"), 1.0),)}, "tasks[0].prefers[0].key"),
        ({"tolerations": (Toleration("a b"),)}, "tasks[0].tolerations[0].key"),
        ({"tolerations": (Toleration("a", "b c"),)}, "tasks[0].tolerations[0].value"),
    ],
)
def test_specs_name_what_is_wrong(fields: dict[str, object], field: str) -> None:
    task = TaskSpec("t", ("x",), **fields)  # type: ignore[arg-type]
    with pytest.raises(InvalidField) as caught:
        JobSpec("j", (task,)).validate()
    assert caught.value.field == field
    service = ServiceSpec("s", ("x",), **fields)  # type: ignore[arg-type]
    with pytest.raises(InvalidField) as caught:
        service.validate()
    assert caught.value.field == field.removeprefix("tasks[0].")


def test_an_effect_that_is_none() -> None:
    with pytest.raises(InvalidField, match=r"toleration\.effect"):
        Toleration("a", None, "Never")  # type: ignore[arg-type]
