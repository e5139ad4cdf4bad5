"""`tango submit -- COMMAND`: what is wrong is named as it was given, as an option."""

from __future__ import annotations

from typing import Any

import pytest

from tango.cli.jobs import command_job
from tango.model.errors import InvalidField

GIVEN: dict[str, Any] = {
    "name": "job", "cpu": "", "memory": "128Mi", "retries": 0, "cores": 0, "argv": ("true",),
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "A b"}, "--name: 'A b' is not a valid name"),
        ({"cpu": "lots"}, "--cpu: 'lots' is not a CPU quantity"),
        ({"cpu": "3", "cores": 2}, "--cpu: 3 is more than its 2 cores can give"),
        ({"memory": "1k"}, "--memory: 1000 is out of range"),
        ({"retries": -1}, "--retries: -1 is out of range"),
        ({"cores": -1}, "--cores: -1 is out of range; use 0 to 1000"),
        ({"cores": 10**14}, "--cores: 100000000000000 is out of range; use 0 to 1000"),
        ({"argv": ("",)}, "COMMAND: is empty"),
    ],
)
def test_the_option_is_named(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidField) as caught:
        command_job(**(GIVEN | changes))
    assert str(caught.value).startswith(expected)


def test_what_is_right_is_a_job() -> None:
    spec = command_job(**(GIVEN | {"cores": 2}))
    assert (spec.name, spec.tasks[0].cpu_millis, spec.tasks[0].cores) == ("job", 2000, 2)
