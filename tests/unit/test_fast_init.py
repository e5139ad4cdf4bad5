"""Frozen dataclasses with the cheaper constructor behave as all others do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from typing import Any

import pytest

from tango.cli.compiled import compiled
from tango.model import cgroup, cluster, events, peers, plan, request, routes
from tango.model.fast_init import fast_init, maker, maker_with


@dataclass(frozen=True, slots=True)
class Plain:
    name: str
    count: int = 3
    parts: tuple[int, ...] = ()


@fast_init
@dataclass(frozen=True, slots=True)
class Fast:
    name: str
    count: int = 3
    parts: tuple[int, ...] = ()


def test_it_is_made_compared_and_shown_as_a_plain_one() -> None:
    for given in (("a",), ("a", 4), ("a", 4, (1, 2))):
        fast, plain = Fast(*given), Plain(*given)
        assert (fast.name, fast.count, fast.parts) == (plain.name, plain.count, plain.parts)
        assert repr(fast) == repr(plain).replace("Plain", "Fast")
        assert hash(fast) == hash(plain)
        assert type(fast) is Fast
        assert fast == Fast(*given) != Fast("other")
    assert Fast(count=1, name="b") == replace(Fast("b"), count=1)
    assert copy.deepcopy(Fast("c")) == Fast("c")


def test_its_maker_makes_the_same() -> None:
    make = maker(Fast)
    for given in (("a",), ("a", 4), ("a", 4, (1, 2))):
        assert make(*given) == Fast(*given)
        assert type(make(*given)) is Fast
    assert make(count=1, name="b") == Fast("b", 1)
    with pytest.raises(TypeError, match="missing 1 required"):
        make()  # type: ignore[call-arg]
    with pytest.raises(KeyError):
        maker(Plain)


def test_a_maker_with_what_they_have_in_common_takes_the_rest_in_order() -> None:
    make = maker_with(Fast, count=7)
    assert make("a", (1,)) == Fast("a", 7, (1,))
    assert make(parts=(), name="b") == Fast("b", 7)
    assert maker_with(Fast, name="c", count=1, parts=(2,))() == Fast("c", 1, (2,))
    # Each has its own, and the usual maker none of them.
    assert maker_with(Fast, count=8)("a", ()) == Fast("a", 8)
    assert maker(Fast)("a") == Fast("a", 3)
    with pytest.raises(TypeError, match="missing 1 required"):
        make("a")
    with pytest.raises(TypeError, match="unexpected keyword argument 'count'"):
        make("a", (), count=3)
    with pytest.raises(TypeError, match="Fast has no size"):
        maker_with(Fast, size=3)
    with pytest.raises(KeyError):
        maker_with(Plain, count=3)


@pytest.mark.parametrize(
    "make", [Fast, maker(Fast), lambda name: maker_with(Fast, count=3)(name, ())]
)
def test_it_stays_frozen(make: Callable[[str], Fast]) -> None:
    made = make("a")
    with pytest.raises(FrozenInstanceError):
        made.name = "b"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del made.name
    assert not hasattr(made, "__dict__")


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(TypeError, match=r"Fast\.__init__\(\) missing 1 required.*'name'"):
        Fast()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'size'"):
        Fast("a", size=1)  # type: ignore[call-arg]


def test_what_it_does_not_do_is_refused() -> None:
    @dataclass(frozen=True, slots=True)
    class Made:
        parts: list[int] = field(default_factory=list)

    @dataclass(slots=True)
    class Open:
        name: str

    @dataclass(frozen=True)
    class Roomy:
        name: str

    @dataclass(frozen=True, slots=True)
    class Checked:
        name: str

        def __post_init__(self) -> None:
            raise AssertionError

    @dataclass(frozen=True, slots=True)
    class Heir(Plain):
        more: int = 0

    for kind in (Made, Open, Roomy, Checked, Heir):
        with pytest.raises(TypeError, match=kind.__name__):
            fast_init(kind)


def _fast_classes() -> list[type[Any]]:
    modules = (cgroup, cluster, events, peers, plan, request, routes)
    every = {one for module in modules for one in vars(module).values() if isinstance(one, type)}
    return [one for one in every if "_draft" in getattr(one.__init__, "__globals__", {})]


def test_each_of_the_models_keeps_all_of_its_fields() -> None:
    if compiled():
        pytest.skip("written out for mypyc: see test_native_records")
    found = _fast_classes()
    assert request.CallReply in found
    for one in found:
        names = [each.name for each in fields(one)]
        made = one(*range(len(names)))
        assert [getattr(made, name) for name in names] == list(range(len(names)))
        assert maker(one)(*range(len(names))) == made
