"""Joins what the daemons of a cluster say to one `explain`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tango.model.errors import NotFound, TangoError
from tango.model.explanation import Explanation


def joined(
    answers: Mapping[str, tuple[Explanation, ...] | BaseException],
) -> tuple[Explanation, ...]:
    """All that was explained, in the order of who was asked; who did not answer is named in it.

    Raises NotFound with everybody's reason where nobody knows it; the error itself where there is
    one that is everybody's (a name that is none, a token that is wrong).
    """
    found: list[Explanation] = []
    unknown: list[str] = []
    away: list[str] = []
    errors: list[TangoError] = []
    for daemon, answer in answers.items():
        if isinstance(answer, NotFound):
            unknown.append(str(answer))
        elif isinstance(answer, TangoError):
            errors.append(answer)
            away.append(f"{daemon} did not answer: {answer}")
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found += answer
    if not found:
        if errors and not unknown:
            raise errors[0]
        raise NotFound("; ".join((*unknown, *away)))
    return tuple(replace(one, missing=(*one.missing, *away)) for one in found)
