"""`tango delete`: what it says where more than a name is given."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from tango.cli.services import delete


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("service", "hello"), "say `tango delete hello`"),
        (("svc", "hello"), "say `tango delete hello`"),
        (("hello", "world"), "one service at a time: hello or world"),
        ((), "Missing argument 'SERVICE'"),
    ],
)
def test_it_takes_one_name_alone(words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(delete, list(words), standalone_mode=False)
    assert isinstance(done.exception, click.UsageError)
    assert said in done.exception.format_message()


def test_its_help_is_of_one_name() -> None:
    assert "delete [OPTIONS] SERVICE\n" in CliRunner().invoke(delete, ["--help"]).output
