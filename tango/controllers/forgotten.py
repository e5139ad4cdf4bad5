"""What `explain` says where it finds no record: never seen, or no longer kept."""

from __future__ import annotations

from tango.controllers.decisions import Decisions
from tango.model.explanation import Subject


def no_record(decisions: Decisions, subject: Subject, name: str, now: float) -> str:
    """One line. The oldest record that is kept shows how far back the memory goes."""
    what = f"no record of {subject.value} {name!r}"
    if not decisions.keep:
        return f"{what}: none are kept (decisions.ring is 0)"
    oldest = decisions.forgotten(subject.value)
    if oldest is None:
        return f"{what} since this daemon started"
    return (
        f"{what} any more, if there ever was one: it would have been overwritten (the "
        f"{decisions.keep} that are kept go back {now - oldest[1]:.1f} s; decisions.ring in the "
        "daemon's configuration keeps more, decisions.log all)"
    )


def overwritten(decisions: Decisions, subject: Subject, now: float) -> tuple[str, ...]:
    """A remark for an explanation whose earlier records may be gone; nothing where all are kept."""
    if not decisions.keep:
        return ("no records are kept (decisions.ring is 0)",)
    oldest = decisions.forgotten(subject.value)
    if oldest is None:
        return ()
    return (f"records from more than {now - oldest[1]:.1f} s ago were overwritten",)
